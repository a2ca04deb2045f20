//! The environment in memory: cut at each byte of a change, and whatever is read from elsewhere.

use super::{
    copy::{HEAD, crc32},
    *,
};
use crate::testing::{Cut, Power};

const SIZE: usize = 0x100;

fn environment(power: &Power) -> Environment<crate::testing::Raw> {
    let device = power.device("flash", 4 * SIZE);
    let place = |at| Place { device: device.clone(), path: "flash".into(), at };
    Environment::new([place(16), place(2 * SIZE as u64 + 16)], SIZE, None).unwrap()
}

fn value(variables: &Variables, name: &str) -> String {
    String::from_utf8(variables.get(name.as_bytes()).cloned().unwrap_or_default()).unwrap()
}

fn with(flags: u8, variables: &[(&str, &str)]) -> Power {
    let power = Power::new();
    let mut environment = environment(&power);
    environment.renew(variables).unwrap();
    for (copy, flags) in [(0, flags.wrapping_sub(1)), (1, flags)] {
        let Copy { variables, .. } = environment.holding().unwrap().1;
        let bytes = to_bytes(flags, &variables, SIZE).unwrap();
        environment.write(copy, &bytes).unwrap();
    }
    power
}

#[test]
fn the_sum_is_the_one_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn the_counter_goes_round() {
    for flags in [0, 1, 127, 128, 254, 255] {
        let power = with(flags, &[("n", "0")]);
        let mut environment = environment(&power);
        for n in 1..=600 {
            environment.change(&[("n", &n.to_string())]).unwrap();
            assert_eq!(value(&environment.read().unwrap(), "n"), n.to_string(), "began at {flags}");
        }
    }
}

#[test]
fn what_others_put_there_is_kept_byte_for_byte() {
    let power = with(7, &[("n", "0")]);
    let mut environment = environment(&power);
    let strange = Variables::from([
        (b"fdtcontroladdr".to_vec(), b"5e6f".to_vec()),
        (b"\xff name".to_vec(), b"a=b=\xfe".to_vec()),
    ]);
    let bytes = to_bytes(8, &strange, SIZE).unwrap();
    environment.write(0, &bytes).unwrap();
    environment.change(&[("BOOT_ORDER", "A B"), ("gone", "")]).unwrap();
    let mut expected = strange;
    expected.insert(b"BOOT_ORDER".to_vec(), b"A B".to_vec());
    assert_eq!(environment.read().unwrap(), expected);
    environment.change(&[("BOOT_ORDER", "")]).unwrap();
    expected.remove(&b"BOOT_ORDER"[..]);
    assert_eq!(environment.read().unwrap(), expected);
}

#[test]
fn what_can_not_be_written_changes_nothing() {
    let power = with(7, &[("n", "0")]);
    let mut environment = environment(&power);
    let long = "x".repeat(SIZE);
    for bad in [("", "1"), ("a=b", "1"), ("a\0", "1"), ("a", "1\0"), ("a", &*long)] {
        let error = environment.change(&[("n", "1"), bad]).unwrap_err();
        assert!(error.help().is_some());
        assert_eq!(value(&environment.read().unwrap(), "n"), "0", "{error}");
    }
    let room = SIZE - HEAD - "n=0\0m=\0\0".len();
    assert!(matches!(
        environment.change(&[("m", &long[..room + 1])]),
        Err(EnvironmentError::TooLarge { bytes, room }) if bytes == room + 1
    ));
    environment.change(&[("m", &long[..room])]).unwrap();
    assert_eq!(value(&environment.read().unwrap(), "m").len(), room);
}

#[test]
fn what_is_so_already_is_not_written() {
    let power = with(7, &[("n", "0")]);
    let mut environment = environment(&power);
    let before = power.bytes("flash");
    environment.change(&[("n", "0"), ("absent", "")]).unwrap();
    assert_eq!(power.bytes("flash"), before);
}

/// One copy rots: the other holds, even where it is the older one, and the next change mends it.
#[test]
fn one_bad_copy_loses_no_more_than_the_last_change() {
    for (copy, left) in [(16, "2"), (2 * SIZE + 16, "1")] {
        let power = with(254, &[("n", "0")]);
        let mut environment = environment(&power);
        environment.change(&[("n", "1")]).unwrap();
        environment.change(&[("n", "2")]).unwrap();
        power.damage("flash", copy + 40);
        assert_eq!(value(&environment.read().unwrap(), "n"), left);
        environment.change(&[("n", "3")]).unwrap();
        environment.change(&[("n", "4")]).unwrap();
        assert_eq!(value(&environment.read().unwrap(), "n"), "4");
    }
}

#[test]
fn with_both_copies_bad_it_says_so_and_can_be_written_anew() {
    let power = with(3, &[("n", "0")]);
    let mut environment = environment(&power);
    assert!(matches!(environment.renew(&[]), Err(EnvironmentError::NotLost)));
    power.damage("flash", 16 + 40);
    power.damage("flash", 2 * SIZE + 16 + 40);
    let error = environment.read().unwrap_err();
    assert_eq!(error.to_string(), "both copies of the boot environment are damaged, on flash and flash");
    assert!(error.help().unwrap().contains("mkenvimage -r"));
    assert!(matches!(environment.change(&[("n", "1")]), Err(EnvironmentError::BothBad { .. })));
    environment.renew(&[("n", "5")]).unwrap();
    for copy in [16, 2 * SIZE + 16] {
        let power = power.after(Cut::Kill);
        power.damage("flash", copy + 40);
        let mut environment = tests::environment(&power);
        assert_eq!(value(&environment.read().unwrap(), "n"), "5", "each copy alone says it");
    }
}

/// The write of a change is cut at every byte, at every value of the counter, with what lay there before behind it,
/// or with any of its sectors written and others not.
#[test]
fn a_change_that_is_cut_at_any_byte_leaves_the_old_or_the_new() {
    let (mut points, mut new) = (0, 0);
    for flags in 0..=255 {
        let power = with(flags, &[("order", "A B"), ("left", "3")]);
        environment(&power).change(&[("order", "B A"), ("left", "2")]).unwrap();
        let before = power.bytes("flash");
        environment(&power).change(&[("order", "A B"), ("left", "1")]).unwrap();
        let after = power.bytes("flash");
        let at = before.iter().zip(&after).position(|(old, new)| old != new).unwrap() & !0xf;
        for cut in (0..=SIZE).map(Some).chain([None]) {
            for sectors in 0..16_u32 {
                let torn: Vec<u8> = (0..before.len())
                    .map(|byte| match cut {
                        Some(cut) => {
                            if byte < at + cut {
                                after[byte]
                            } else {
                                before[byte]
                            }
                        }
                        // Every choice of 64-byte sectors.
                        None if byte < at => before[byte],
                        None => match sectors >> (((byte - at) / 64) % 16) & 1 {
                            0 => before[byte],
                            _ => after[byte],
                        },
                    })
                    .collect();
                let power = Power::new();
                power.device("flash", 4 * SIZE).write_at(0, &torn).unwrap();
                let variables = environment(&power).read().unwrap();
                let said = (value(&variables, "order"), value(&variables, "left"));
                let is_new = said == ("A B".into(), "1".into());
                assert!(is_new || said == ("B A".into(), "2".into()), "flags {flags}, cut {cut:?}: {said:?}");
                points += 1;
                new += usize::from(is_new);
                if cut.is_some() {
                    break;
                }
            }
        }
    }
    println!("environment: {points} cuts, {new} left the new words, 0 a mix");
    assert!(new > 256 && new < points);
}

/// Somebody was killed between write and sync. What was read from memory has to reach the medium before the other
/// copy is touched, or a power cut leaves neither.
#[test]
fn a_change_upon_one_that_was_never_synced_never_leaves_two_bad_copies() {
    // Over several sectors, so that a part of it is neither the old nor the new.
    let long = |digit: &str| digit.repeat(200);
    let mut points = 0;
    for (first, half) in (0..4).flat_map(|first| (0..8).map(move |half| (first, half))) {
        let power = with(9, &[("n", &long("0"))]);
        power.lasts(first);
        let _ = environment(&power).change(&[("n", &long("1"))]);
        let cut = if half == 0 { Cut::Kill } else { Cut::KillHalf(half) };
        let killed = power.after(cut);
        for second in 0..8 {
            for seed in 1..=32 {
                let power = killed.after(Cut::Kill);
                power.lasts(second);
                let done = environment(&power).change(&[("n", &long("2"))]).is_ok();
                let power = power.after(Cut::Torn(seed));
                let said = value(&environment(&power).read().unwrap(), "n");
                let may = if done { 2..3 } else { 0..3 };
                assert!(may.into_iter().any(|n| said == long(&n.to_string())), "{said}");
                points += 1;
            }
        }
    }
    println!("environment, upon what was never synced: {points} cuts, 0 bad ends");
    assert!(points > 5000);
}
