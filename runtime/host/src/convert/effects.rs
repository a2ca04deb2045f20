//! Events in, effects out.

use backstay_model::{
    Access, Answer, Deed, Effect, FIELDS_BYTES_MAX, Millis, OUTPUT_BYTES_MAX, Order, Outcome, Output,
    SlotDeed, SlotStatus, Task, Transience,
};
use backstay_trust::Limits;

use super::{Bad, at_most, bound, name, release_in, release_out, text};
use crate::{
    CallError, Event, Stepped,
    bindings::{effects as wit, orders},
};

const WHY_BYTES_MAX: usize = 256;
const HTTP_PATH_BYTES_MAX: usize = 1024;
const CONTENT_BYTES_MAX: usize = 64 << 10;
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 1024;
const PATH_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 4096;
const SLEEP_MS_MAX: u64 = 3_600_000;

pub(crate) fn event(event: &Event) -> Result<wit::Event, CallError> {
    Ok(match event {
        Event::Begin(order) => wit::Event::Begin(order_in(order)),
        Event::Answered { ordinal, answer } => {
            wit::Event::Answered(wit::Answered { ordinal: *ordinal, answer: answer_in(answer)? })
        }
    })
}

fn order_in(order: &Order) -> orders::Order {
    let task = match &order.task {
        Task::Install { release } => orders::Task::Install(release_in(release)),
        Task::Confirm { release } => orders::Task::Confirm(release_in(release)),
        Task::GoHome { release } => orders::Task::GoHome(release_in(release)),
        Task::Heal { playbook } => orders::Task::Heal(playbook.to_string()),
    };
    orders::Order { ticket: order.ticket.0, fence: order.fence.0, task }
}

fn answer_in(answer: &Answer) -> Result<wit::Answer, CallError> {
    Ok(match answer {
        // That something failed by being done is a way of saying that it was done.
        Answer::Done | Answer::Failed(Outcome::Done) => wit::Answer::Done,
        Answer::Exited { code, output } => {
            wit::Answer::Exited(wit::Exited { code: *code, output: output_in(output, OUTPUT_BYTES_MAX)? })
        }
        Answer::Response { status, body } => {
            // Whether it was reduced to fields, whoever did the effect knows.
            wit::Answer::Response(wit::Response { status: *status, body: output_in(body, FIELDS_BYTES_MAX)? })
        }
        Answer::Content(output) => wit::Answer::Content(output_in(output, OUTPUT_BYTES_MAX)?),
        Answer::Slots(SlotStatus { booted, confirmed, other, trying }) => {
            wit::Answer::Slots(wit::SlotStatus {
                booted: release_in(booted),
                confirmed: release_in(confirmed),
                other: other.as_ref().map(release_in),
                trying: trying.as_ref().map(release_in),
            })
        }
        Answer::Failed(Outcome::Failed { transience, why }) => wit::Answer::Failed(orders::Failed {
            transience: match transience {
                Transience::Transient => orders::Transience::Transient,
                Transience::Permanent => orders::Transience::Permanent,
            },
            why: text(why, WHY_BYTES_MAX),
        }),
        Answer::TimedOut => wit::Answer::TimedOut,
        Answer::Refused(why) => wit::Answer::Refused(text(why, WHY_BYTES_MAX)),
        Answer::InDoubt => wit::Answer::InDoubt,
    })
}

fn output_in(output: &Output, bytes_max: usize) -> Result<wit::Output, CallError> {
    at_most("bytes of output", output.bytes.len(), bytes_max)?;
    Ok(wit::Output { bytes: output.bytes.clone(), whole: output.whole.map(|digest| digest.to_string()) })
}

pub(crate) fn stepped(stepped: wit::Stepped, limits: &Limits) -> Result<Stepped, Bad> {
    bound("bytes of state", stepped.state.len(), limits.state_bytes as usize)?;
    bound("effects", stepped.effects.len(), limits.effects_per_step as usize)?;
    let effects = stepped.effects.into_iter().map(effect).collect::<Result<Vec<_>, _>>()?;
    let follow = |pair: &[Effect]| match pair {
        [one, next] => one.ordinal.checked_add(1) == Some(next.ordinal),
        _ => true,
    };
    if !effects.windows(2).all(follow) {
        return Err(Bad("the ordinals of the effects don't follow each other".into()));
    }
    let end = stepped.end.map(|end| match end {
        orders::Outcome::Done => Outcome::Done,
        orders::Outcome::Failed(orders::Failed { transience, why }) => Outcome::Failed {
            transience: match transience {
                orders::Transience::Transient => Transience::Transient,
                orders::Transience::Permanent => Transience::Permanent,
            },
            why: text(&why, WHY_BYTES_MAX),
        },
    });
    if end.is_some() && !effects.is_empty() {
        return Err(Bad(format!("the run has ended and asks for {} effects", effects.len())));
    }
    Ok(Stepped { state: stepped.state, effects, end })
}

fn effect(effect: wit::Effect) -> Result<Effect, Bad> {
    let deed = deed(effect.deed)?;
    let access = match effect.access {
        wit::Access::Looks => Access::Looks,
        wit::Access::Changes => Access::Changes,
    };
    // A dry run does what looks: what is known to change something can't be passed off as a look. What a command
    // does, only whoever named it in the configuration can know.
    let changes = match &deed {
        Deed::Http { method, .. } => !matches!(method.as_str(), "GET" | "HEAD"),
        Deed::Slot(slot) => *slot != SlotDeed::Status,
        Deed::File { content, .. } => content.is_some(),
        Deed::Publish { .. } => true,
        Deed::Run { .. } | Deed::Sleep { .. } | Deed::Attach { .. } => false,
    };
    if changes && access == Access::Looks {
        return Err(Bad(format!("effect {} changes something and says that it looks", effect.ordinal)));
    }
    Ok(Effect { ordinal: effect.ordinal, access, deed })
}

fn deed(deed: wit::Deed) -> Result<Deed, Bad> {
    Ok(match deed {
        wit::Deed::Http(wit::Http { endpoint, method, path, body }) => {
            if !matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") {
                return Err(Bad(format!("the method {:?} is not known", text(&method, 16))));
            }
            http_path(&path)?;
            bound("bytes of a body", body.len(), CONTENT_BYTES_MAX)?;
            Deed::Http { endpoint: name(&endpoint)?, method, path, body }
        }
        wit::Deed::Run(wit::Run { command, args }) => {
            bound("arguments", args.len(), ARGS_MAX)?;
            for arg in &args {
                bound("bytes of an argument", arg.len(), ARG_BYTES_MAX)?;
                if arg.contains('\0') {
                    return Err(Bad("an argument has a zero byte".into()));
                }
            }
            Deed::Run { command: name(&command)?, args }
        }
        wit::Deed::Slot(slot) => Deed::Slot(match slot {
            wit::Slot::Status => SlotDeed::Status,
            wit::Slot::Stage(release) => SlotDeed::Stage(release_out(&release)?),
            wit::Slot::TryNext(release) => SlotDeed::TryNext(release_out(&release)?),
            wit::Slot::Confirm(release) => SlotDeed::Confirm(release_out(&release)?),
            wit::Slot::GoHome(release) => SlotDeed::GoHome(release_out(&release)?),
        }),
        wit::Deed::File(wit::File { path, content }) => {
            // Whether the path is plain and granted, the grant says.
            bound("bytes of a path", path.len(), PATH_BYTES_MAX)?;
            bound("bytes of a file", content.as_ref().map_or(0, Vec::len), CONTENT_BYTES_MAX)?;
            Deed::File { path, content }
        }
        wit::Deed::Publish(wit::Publish { topic, payload }) => {
            bound("bytes of a message", payload.len(), MESSAGE_BYTES_MAX)?;
            Deed::Publish { topic: name(&topic)?, payload }
        }
        wit::Deed::Sleep(ms) => {
            if ms > SLEEP_MS_MAX {
                return Err(Bad(format!("to sleep for {ms} ms, at most {SLEEP_MS_MAX} are allowed")));
            }
            Deed::Sleep { span: Millis(ms) }
        }
        wit::Deed::Attach(wit::Attach { name: called, content }) => {
            bound("bytes of evidence", content.len(), MESSAGE_BYTES_MAX)?;
            Deed::Attach { name: name(&called)?, content }
        }
    })
}

/// A path stays below the endpoint that was granted, however a server may read it. Behind `#` stands what is kept of the
/// answer: no server sees it, and whoever does the effect reads it.
fn http_path(path: &str) -> Result<(), Bad> {
    bound("bytes of a path", path.len(), HTTP_PATH_BYTES_MAX)?;
    let shown = || format!("{:?}", text(path, 80));
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(Bad(format!("the path {} does not begin with one /", shown())));
    }
    if !path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\') {
        return Err(Bad(format!("the path {} has bytes that belong encoded", shown())));
    }
    let mut route = path.split(['?', '#']).next().unwrap_or(path).as_bytes().to_vec();
    // As it stands, and decoded once and twice: some servers do.
    for _ in 0..3 {
        let mut levels = route.split(|byte| matches!(byte, b'/' | b'\\'));
        if levels.any(|level| matches!(level.split(|byte| *byte == b';').next(), Some(b"." | b".."))) {
            return Err(Bad(format!("the path {} leads out of its endpoint", shown())));
        }
        route = decoded(&route);
    }
    Ok(())
}

/// Any byte may be written as `%` and two digits (RFC 3986, 2.1), a digit of another such among them.
fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some((first, behind)) = rest.split_first() {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = match behind {
            [high, low, ..] if *first == b'%' => {
                digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        decoded.push(byte.unwrap_or(*first));
        rest = byte.and_then(|_| behind.get(2..)).unwrap_or(behind);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_endpoint() {
        for path in ["/", "/api/v1/x?y=../z", "/a..b/.c", "/a%20b", "/a/b/", "/a#/../b", "/a?b#/*/c"] {
            assert!(http_path(path).is_ok(), "{path}");
        }
        let long = format!("/{}", "a".repeat(1024));
        for path in [
            "",
            "a",
            "//host/a",
            "/a/../b",
            "/..",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a/%252e%252e/b",
            "/a%2f..%2fb",
            // A digit of what is decoded first belongs to what is decoded then.
            "/a/%2%65%2%65/b",
            "/a/%%32%65./b",
            "/a/..%3bx/b",
            "/a b",
            "/a\r\nHost: x",
            "/a\\..\\b",
            "/a/..#/b",
            "#/a",
            "/ä",
            "/..;x/a",
            "/a/./b",
            &long,
        ] {
            assert!(http_path(path).is_err(), "{path}");
        }
    }

    /// Only an endpoint's answer may have been reduced to fields, so nothing else is longer than the end of an output.
    #[test]
    fn an_endpoint_may_say_more_than_others() {
        let said = |bytes| Output { bytes: vec![b'x'; bytes], whole: None };
        let response = |bytes| Answer::Response { status: 200, body: said(bytes) };
        let others =
            |bytes| [Answer::Content(said(bytes)), Answer::Exited { code: Some(0), output: said(bytes) }];
        assert!(
            answer_in(&response(FIELDS_BYTES_MAX)).is_ok()
                && answer_in(&response(FIELDS_BYTES_MAX + 1)).is_err()
        );
        assert!(others(OUTPUT_BYTES_MAX).iter().all(|answer| answer_in(answer).is_ok()));
        assert!(others(OUTPUT_BYTES_MAX + 1).iter().all(|answer| answer_in(answer).is_err()));
    }

    fn asked(access: wit::Access, deed: wit::Deed) -> wit::Stepped {
        wit::Stepped { state: vec![], effects: vec![wit::Effect { ordinal: 3, access, deed }], end: None }
    }

    #[test]
    fn a_change_is_not_passed_off_as_a_look() {
        let content = |content: Option<Vec<u8>>| wit::Deed::File(wit::File { path: "/x".into(), content });
        let http = |method: &str| {
            let (endpoint, path) = ("api".into(), "/".into());
            wit::Deed::Http(wit::Http { endpoint, method: method.into(), path, body: vec![] })
        };
        for (deed, looks) in [
            (content(None), true),
            (content(Some(vec![])), false),
            (http("GET"), true),
            (http("POST"), false),
            (wit::Deed::Slot(wit::Slot::Status), true),
            (wit::Deed::Publish(wit::Publish { topic: "t".into(), payload: vec![] }), false),
            (wit::Deed::Sleep(1), true),
        ] {
            let told = format!("{deed:?}");
            assert_eq!(
                stepped(asked(wit::Access::Looks, deed.clone()), &Limits::DEFAULT).is_ok(),
                looks,
                "{told}"
            );
            assert!(stepped(asked(wit::Access::Changes, deed), &Limits::DEFAULT).is_ok(), "{told}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_bad() {
        let run =
            |command: &str, args: Vec<String>| wit::Deed::Run(wit::Run { command: command.into(), args });
        for deed in [
            run("Restart; rm", vec![]),
            run("restart", vec![String::new(); 33]),
            run("restart", vec!["x".repeat(1025)]),
            run("restart", vec!["a\0b".into()]),
            wit::Deed::Sleep(3_600_001),
            wit::Deed::Attach(wit::Attach { name: "../x".into(), content: vec![] }),
            wit::Deed::Attach(wit::Attach { name: "x".into(), content: vec![0; 4097] }),
            wit::Deed::Publish(wit::Publish { topic: "a/#".into(), payload: vec![] }),
            wit::Deed::File(wit::File { path: "/x".into(), content: Some(vec![0; (64 << 10) + 1]) }),
        ] {
            let told = format!("{deed:?}");
            assert!(
                stepped(asked(wit::Access::Changes, deed), &Limits::DEFAULT).is_err(),
                "{}",
                text(&told, 100)
            );
        }
        let mut ended = asked(wit::Access::Looks, wit::Deed::Sleep(1));
        ended.end = Some(orders::Outcome::Done);
        assert!(stepped(ended, &Limits::DEFAULT).is_err());
        let mut gap = asked(wit::Access::Looks, wit::Deed::Sleep(1));
        gap.effects.push(wit::Effect { ordinal: 5, access: wit::Access::Looks, deed: wit::Deed::Sleep(1) });
        assert!(stepped(gap, &Limits::DEFAULT).is_err());
        let few = Limits { state_bytes: 1, ..Limits::DEFAULT };
        let large = wit::Stepped { state: vec![0; 2], effects: vec![], end: None };
        assert!(stepped(large, &few).is_err());
    }
}
