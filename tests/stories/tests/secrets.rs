//! Stories about credentials in configurations: a copy that is put back months later must not bring an old password back.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::credential::{in_file, looks_like};

/// A pump has five files of settings. What may be copied is what holds no credential, in whatever form each file is written.
#[test]
fn of_a_pumps_files_only_those_without_a_credential_are_copied() {
    let files: [(&str, &str); 7] = [
        ("motor.conf", "set speed 3\nset mode eco\n"),
        ("display.toml", "language = \"de\"\n# the password is with the operator\n"),
        ("uplink.toml", "broker = \"mqtts://broker:8883\"\npassword = \"${UPLINK_PASSWORD}\"\n"),
        ("wifi.xml", "<wifi ssid=\"plant\" wifi_pwd=\"hunter2\"/>"),
        ("uplink.json", "{\"broker\":\"b\",\"auth_token\":\"abc\"}"),
        ("modem.conf", "set password hunter2\n"),
        ("client.key", "anything"),
    ];
    let copied = files.iter().filter(|(name, content)| in_file(name, content.as_bytes()).is_none());
    let copied: Vec<&str> = copied.map(|(name, _)| *name).collect();
    assert_eq!(copied, ["motor.conf", "display.toml", "uplink.toml"]);
}

/// A service keeps its settings in values whose keys say nothing. Each value is told by what it holds, and by nothing less: a
/// value that only says where the password is may be put back.
#[test]
fn a_value_is_told_by_what_it_holds() {
    let told = |value: &str| looks_like(value.as_bytes());
    let properties = "pool.size=20\nspring.datasource.password=hunter2\n";
    assert_eq!(told(properties), Some("a line that sets a password, a token or a key"));
    assert_eq!(told("pool.size=20\nspring.datasource.password=${DB_PASSWORD}\n"), None);
    assert_eq!(told("pool.size=20\npassword.min-length=12\n"), None, "a rule about passwords");
    assert_eq!(told("postgres://shop:hunter2@db/shop"), Some("an address with a password in it"));
    assert_eq!(told("postgres://shop:${DB_PASSWORD}@db/shop"), None);
    assert_eq!(told("bucket = shop, id = AKIAABCDEFGHIJKLMNOP"), Some("a key as services give them out"));
    assert_eq!(told("regions = ASIA-EAST, EUROPE"), None, "a place, and no key");
}
