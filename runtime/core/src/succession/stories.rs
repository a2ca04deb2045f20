//! Stories of plugins that take over, or don't: one question after the other, and for each who decided.

use backstay_model::{How, Mono};

use super::*;

const NEW: Digest = Digest([2; 32]);
const OLD: Digest = Digest([1; 32]);
const OLDER: Digest = Digest([0; 32]);

const TERMS: Terms = Terms { windows: 4, soak: 3, disagreements_max: 1 };

/// How a plugin answers the n-th question.
type Manner = fn(u32) -> Option<Action>;

fn good(n: u32) -> Option<Action> {
    // Something that changes from question to question, so that agreeing is not by accident.
    Some(if n.is_multiple_of(3) { Action::Proceed } else { Action::Slow { windows: n } })
}

fn silent(_: u32) -> Option<Action> {
    None
}

fn contrary(_: u32) -> Option<Action> {
    Some(Action::RollBack { how: How::SwitchAndFreeze })
}

/// A desk with an old plugin that does its work, an older one, and a candidate.
struct Desk {
    confidence: Confidence,
    terms: Terms,
    candidate: Option<Digest>,
    manners: Vec<(Digest, Manner)>,
    now: u64,
    asked: u32,
    told: Vec<Move>,
    /// Who decided, question by question; `None` where nobody did.
    decided: Vec<Option<Digest>>,
}

impl Desk {
    fn with_candidate(manner: Manner) -> Self {
        let mut desk = Self {
            confidence: Confidence::default(),
            terms: TERMS,
            candidate: Some(NEW),
            manners: alloc::vec![(NEW, manner), (OLD, good), (OLDER, good)],
            now: 0,
            asked: 0,
            told: Vec::new(),
            decided: Vec::new(),
        };
        desk.starts();
        desk
    }

    fn bench<'a>(candidate: Option<&'a Digest>) -> Bench<'a> {
        Bench { candidate, proven: &[OLD, OLDER] }
    }

    /// As after every start of the instance.
    fn starts(&mut self) {
        let Confidence { quarantine, succession } = &mut self.confidence;
        let moved = succession.seat(Self::bench(self.candidate.as_ref()), &self.terms, quarantine);
        self.told.extend(moved);
    }

    fn says(&self, grant: Digest) -> Option<Action> {
        let (_, manner) = self.manners.iter().find(|(of, _)| *of == grant).unwrap();
        manner(self.asked)
    }

    fn asks(&mut self, times: u32, apart: u64) {
        for _ in 0..times {
            self.now += apart;
            self.asked += 1;
            let bench = Self::bench(self.candidate.as_ref());
            let turn = self.confidence.succession.turn(bench, &self.confidence.quarantine);
            let mut decided = None;
            for grant in &turn.ask {
                if self.says(*grant).is_some() {
                    decided = Some(*grant);
                    break;
                }
                self.confidence.quarantine.strike(Mono(self.now), *grant);
            }
            self.decided.push(decided);
            let beside = turn.beside.and_then(|grant| self.says(grant));
            if let (Some(grant), None) = (turn.beside, &beside) {
                self.confidence.quarantine.strike(Mono(self.now), grant);
            }
            let first = turn.ask.first().and_then(|grant| self.says(*grant));
            let Confidence { quarantine, succession } = &mut self.confidence;
            self.told.extend(succession.heard(&self.terms, first.as_ref(), beside.as_ref(), quarantine));
        }
    }

    fn refused(&self) -> Option<Trouble> {
        self.told.iter().find_map(|told| match told {
            Move::Refused { why, .. } => Some(*why),
            Move::Shadows { .. } | Move::Differs { .. } | Move::TakesOver { .. } | Move::Settles { .. } => {
                None
            }
        })
    }
}

/// The way that everybody hopes for: four windows beside, three in the soak, and then it stays, over a restart, too.
#[test]
fn a_good_candidate_takes_over_and_stays() {
    let mut desk = Desk::with_candidate(good);
    desk.asks(4, 60_000);
    assert_eq!(desk.decided, [Some(OLD); 4], "who is watched does not decide");
    desk.starts();
    desk.asks(3, 60_000);
    assert_eq!(desk.decided[4..], [Some(NEW); 3]);
    desk.starts();
    desk.asks(2, 60_000);
    assert_eq!(desk.decided[7..], [Some(NEW); 2]);
    assert_eq!(
        desk.told,
        [
            Move::Shadows { candidate: NEW, beside: OLD },
            Move::TakesOver { candidate: NEW, from: OLD, differed: 0, windows: 4 },
            Move::Settles { candidate: NEW, differed: 0, windows: 3 },
        ]
    );
    assert_eq!(desk.confidence.succession.standing(), None);
}

/// It answers nothing: each window counts as one in which it differed, however far the windows are apart.
#[test]
fn a_candidate_that_never_answers_does_not_take_over() {
    let mut desk = Desk::with_candidate(silent);
    desk.asks(30, 3_600_000);
    assert_eq!(desk.refused(), Some(Trouble::Differed { times: 2, windows: 2 }));
    assert_eq!(desk.decided, alloc::vec![Some(OLD); 30]);
    // Where windows are close together and many differences are allowed, three strikes are soon there.
    let mut desk = Desk::with_candidate(silent);
    desk.terms.disagreements_max = 1000;
    desk.asks(30, 1000);
    assert_eq!(desk.refused(), Some(Trouble::Quarantined));
    assert_eq!(desk.decided, alloc::vec![Some(OLD); 30]);
}

#[test]
fn a_candidate_that_always_differs_does_not_take_over_and_is_not_tried_again() {
    let mut desk = Desk::with_candidate(contrary);
    desk.asks(10, 60_000);
    assert_eq!(desk.refused(), Some(Trouble::Differed { times: 2, windows: 2 }));
    desk.starts();
    desk.asks(10, 60_000);
    assert_eq!(desk.decided, alloc::vec![Some(OLD); 20]);
    assert_eq!(desk.told.len(), 4, "it was shadowed once, differed twice, was refused once: {:?}", desk.told);
    // Until somebody signs that it may.
    desk.confidence.lift(&NEW);
    desk.starts();
    assert_eq!(desk.told.last(), Some(&Move::Shadows { candidate: NEW, beside: OLD }));
}

/// It behaves as long as it is only watched. In the soak it traps: that question is answered by the one before, and so
/// is each after it.
#[test]
fn a_candidate_that_fails_in_the_soak_goes_back_and_no_question_is_lost() {
    let mut desk = Desk::with_candidate(|n| if n <= 5 { good(n) } else { None });
    desk.asks(10, 60_000);
    let mut who = alloc::vec![Some(OLD); 10];
    who[4] = Some(NEW);
    assert_eq!(desk.decided, who);
    assert_eq!(desk.refused(), Some(Trouble::NoAnswer));
    assert!(desk.told.contains(&Move::Refused {
        candidate: NEW,
        back_to: OLD,
        was_deciding: true,
        why: Trouble::NoAnswer
    }));
}

#[test]
fn a_candidate_that_turns_contrary_in_the_soak_goes_back() {
    let mut desk = Desk::with_candidate(|n| if n <= 4 { good(n) } else { contrary(n) });
    desk.asks(10, 60_000);
    assert_eq!(desk.refused(), Some(Trouble::Differed { times: 2, windows: 2 }));
    assert_eq!(desk.decided[6..], [Some(OLD); 4]);
    assert!(desk.decided.iter().all(Option::is_some));
}

/// It takes the whole process with it, watched or deciding: once is enough, because once more costs a restart.
#[test]
fn a_candidate_that_brings_the_process_down_is_not_asked_again() {
    for windows_before in [1, 5] {
        let mut desk = Desk::with_candidate(good);
        desk.asks(windows_before, 60_000);
        let moved = desk.confidence.succession.brought_down(&NEW).unwrap();
        let was_deciding = windows_before == 5;
        assert_eq!(
            moved,
            Move::Refused { candidate: NEW, back_to: OLD, was_deciding, why: Trouble::BroughtDown }
        );
        desk.starts();
        desk.asks(10, 60_000);
        assert_eq!(desk.decided[windows_before as usize..], [Some(OLD); 10]);
    }
    // It decides by now, and another one that is asked beside it does so: that is not its fault.
    let mut desk = Desk::with_candidate(good);
    desk.asks(5, 60_000);
    assert_eq!(desk.confidence.succession.brought_down(&OLD), None);
    assert!(desk.confidence.succession.standing().unwrap().deciding);
    let mut desk = Desk::with_candidate(good);
    assert_eq!(desk.confidence.succession.brought_down(&OLD), None, "that is for the quarantine to count");
    assert_eq!(desk.confidence.succession.standing().unwrap().candidate, NEW);
    desk.asks(4, 60_000);
    assert!(desk.confidence.succession.standing().unwrap().deciding);
}

/// The one who decides fails while a candidate is watched: the last good one answers, and that is no window in which
/// the candidate could have agreed with anybody.
#[test]
fn a_leader_that_fails_is_no_reason_to_trust_the_candidate() {
    let mut desk = Desk::with_candidate(good);
    desk.manners[1].1 = silent;
    desk.asks(3, 1000);
    assert_eq!(desk.decided, [Some(OLDER); 3]);
    assert_eq!(desk.confidence.succession.standing().unwrap().windows, 0);
    // It is in quarantine by now, and the candidate is held against the last good one.
    desk.asks(4, 1000);
    assert_eq!(desk.decided[3..], [Some(OLDER); 4]);
    assert!(desk.confidence.succession.standing().unwrap().deciding);
}

/// It decides by now, or is even settled, and is gone, or is put out elsewhere, before the succession is told of it: the next question
/// is not for it.
#[test]
fn who_decides_and_is_gone_or_out_is_not_asked() {
    for soaked_or_settled in [5, 8] {
        let decides = || {
            let mut desk = Desk::with_candidate(good);
            desk.asks(soaked_or_settled, 60_000);
            assert_eq!(desk.decided.last(), Some(&Some(NEW)));
            desk
        };
        let mut gone = decides();
        gone.candidate = None;
        gone.asks(1, 60_000);
        assert_eq!(gone.decided.last(), Some(&Some(OLD)));
        let mut out = decides();
        while !out.confidence.quarantine.is_out(&NEW) {
            out.confidence.quarantine.strike(Mono(out.now), NEW);
        }
        out.asks(1, 60_000);
        assert_eq!(out.decided.last(), Some(&Some(OLD)));
    }
}

#[test]
fn who_is_not_there_any_more_is_forgotten() {
    let mut desk = Desk::with_candidate(good);
    desk.asks(2, 60_000);
    desk.candidate = None;
    desk.starts();
    assert_eq!(desk.confidence.succession, Succession::default());
    desk.candidate = Some(NEW);
    desk.starts();
    assert_eq!(desk.confidence.succession.standing().unwrap().windows, 0, "it begins anew");
    // Nobody to be held against: it waits, and hold is what follows.
    let alone = Bench { candidate: Some(&NEW), proven: &[] };
    let mut succession = Succession::default();
    assert_eq!(succession.seat(alone, &TERMS, &Quarantine::default()), None);
    assert_eq!(succession.turn(alone, &Quarantine::default()), Turn::default());
}

/// For any manner of a candidate: there is an answer to every question, and it decides only after as many windows as
/// were asked for.
#[test]
fn whatever_a_candidate_does_no_question_is_lost() {
    for seed in 0..500_u64 {
        let mut rng = crate::Rng::new(seed);
        let mut desk = Desk::with_candidate(good);
        for _ in 0..40 {
            desk.manners[0].1 = match rng.below(4) {
                0 => silent,
                1 => contrary,
                _ => good,
            };
            if rng.below(10) == 0 {
                desk.starts();
            }
            desk.asks(1, 1 + rng.below(400_000));
        }
        assert!(desk.decided.iter().all(Option::is_some), "seed {seed}");
        assert!(desk.decided[..4].iter().all(|who| *who == Some(OLD)), "seed {seed}");
        let over = desk.told.iter().filter(|told| matches!(told, Move::TakesOver { .. })).count();
        let back = desk.told.iter().filter(|told| matches!(told, Move::Refused { .. })).count();
        assert!(over <= 1 && back <= 1, "seed {seed}");
        if back == 1 {
            assert_ne!(desk.decided.last(), Some(&Some(NEW)), "seed {seed}");
        }
    }
}

/// Whoever wants no soak has it decide for good from the first question on. It misses one then: that is a strike, and doesn't send it
/// back.
#[test]
fn without_a_soak_a_candidate_that_takes_over_stays() {
    let mut desk = Desk::with_candidate(|n| if n == 5 { None } else { good(n) });
    desk.terms.soak = 0;
    desk.asks(4, 60_000);
    assert_eq!(desk.confidence.succession.standing(), None, "nothing is under way any more");
    desk.asks(2, 60_000);
    assert_eq!((desk.decided[4], desk.decided[5], desk.refused()), (Some(OLD), Some(NEW), None));
}
