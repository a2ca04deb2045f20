//! Everything that has to agree before a plugin runs, in all combinations: the link to the keyring, the revocation, the
//! vendor's release, the operators' grant, and the code. Each is right, or broken in one of its ways. Exactly
//! one combination runs, and each other one is refused for what is looked at first of what is broken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod world;

use std::collections::BTreeMap;

use backstay_model::{Digest, PluginId, UnixMs, Version};
use backstay_trust::{
    Accepted, Chain, ChainError, Floor, Keyring, KeyringParts, OldestCompiler, OldestRelease, PluginError,
    PluginRelease, Revocation, RevocationError, Role, SecretKey, Stamp, Target, Want,
};
use world::{ARTIFACT, Kind, World, key, stamp};

/// Where a combination fails: the stage, and the check within it. The smaller goes first.
type Rank = (u8, u8);

/// One way of bringing something: what is broken about it, if anything, by the words of its refusal.
struct Way<T> {
    brings: T,
    broken: Option<(Rank, &'static str)>,
}

fn right<T>(brings: T) -> Way<T> {
    Way { brings, broken: None }
}

fn wrong<T>(brings: T, rank: Rank, words: &'static str) -> Way<T> {
    Way { brings, broken: Some((rank, words)) }
}

const LINK: u8 = 0;
const REVOCATION: u8 = 1;
const GRANT: u8 = 2;
const RELEASE: u8 = 3;
const AGREEMENT: u8 = 4;
const ORDER: u8 = 5;
const MACHINE: u8 = 6;
const REVOKED: u8 = 7;
const CODE: u8 = 8;

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes
}

fn links(world: &World) -> Vec<Way<Vec<u8>>> {
    let next = || world.next_parts();
    let root = &[&world.root][..];
    let expiring = |expires| {
        let mut link = Keyring::new(next()).unwrap().link(UnixMs(1_000), Some(UnixMs(expires))).unwrap();
        link.sign(&world.root).unwrap();
        link.encode().unwrap()
    };
    let stranger = key(201);
    let good = world.link(next(), root);
    let strangers = KeyringParts { root: Role::of(stranger.public()), ..next() };
    let others = Role::of(stranger.public());
    let two = Role { threshold: 2, keys: vec![world.operator.public(), stranger.public()] };
    let shared = {
        // The encoding of a keyring that nobody can make: the release key steers, too.
        let mut bytes = good.clone();
        let (from, to) = (*world.director.public().as_bytes(), *world.release.public().as_bytes());
        let at = bytes.windows(32).position(|window| window == from).unwrap();
        bytes[at..at + 32].copy_from_slice(&to);
        bytes
    };
    vec![
        right(good.clone()),
        wrong(good[..good.len() - 1].to_vec(), (LINK, 0), "keyring ends before its end"),
        wrong(world.statement(Kind::Grant), (LINK, 1), "a keyring was expected, this is a grant"),
        wrong(shared, (LINK, 2), "twice, as release and as director"),
        wrong(
            world.link(KeyringParts { number: 3, ..next() }, root),
            (LINK, 3),
            "keyring 3 does not follow keyring 1",
        ),
        wrong(
            world.link(next(), &[&world.operator]),
            (LINK, 4),
            "the roots of keyring 1 do not vouch for the next keyring: keyring is signed with key",
        ),
        wrong(flipped(good), (LINK, 5), "keyring does not bear a signature of key"),
        wrong(
            world.link(KeyringParts { before: Some(Digest([1; 32])), ..next() }, root),
            (LINK, 6),
            "keyring 2 follows another keyring than the one that is trusted here",
        ),
        wrong(
            world.link(strangers, root),
            (LINK, 7),
            "the roots of keyring 2 do not vouch for the next keyring: keyring is signed with key",
        ),
        // These are followed, and what they say is why the plugin doesn't run.
        wrong(
            world.link(KeyringParts { operator: others, ..next() }, root),
            (GRANT, 3),
            "grant is signed with key",
        ),
        wrong(
            world.link(KeyringParts { operator: two, ..next() }, root),
            (GRANT, 5),
            "grant has 1 of the 2 signatures that it needs",
        ),
        wrong(
            world.link(KeyringParts { vendors: Vec::new(), ..next() }, root),
            (RELEASE, 3),
            "plugin release is signed with key",
        ),
        wrong(expiring(1_200), (ORDER, 4), "keyring 2 expired at 1200"),
    ]
}

fn revocations(world: &World) -> Vec<Way<Vec<u8>>> {
    let by = |revocation: &Revocation, key: &SecretKey, sequence| {
        revocation.sign(key, world.fleet.clone(), stamp(sequence)).unwrap()
    };
    let good = by(&world.revocation(), &world.revoker, 8);
    let plus = |more: Revocation| {
        let all = Revocation {
            keys: [world.revocation().keys, more.keys].concat(),
            digests: [world.revocation().digests, more.digests].concat(),
            ..more
        };
        by(&all, &world.revoker, 8)
    };
    let names = |digest| plus(Revocation { digests: vec![digest], ..Revocation::default() });
    let stolen = |key: &SecretKey| plus(Revocation { keys: vec![key.id()], ..Revocation::default() });
    let plugin = world
        .with_want(|want| {
            let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
            world.keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want)
        })
        .unwrap();
    let oldest = OldestRelease { plugin: world.plugin().id, sequence: 8 };
    let artifact = world.artifact();
    let compiler = OldestCompiler { target: artifact.target, compiler: Version::parse("48.0.9").unwrap() };
    vec![
        right(good.clone()),
        wrong(good[..40].to_vec(), (REVOCATION, 0), "revocation ends before its end"),
        wrong(
            by(&world.revocation(), &world.operator, 8),
            (REVOCATION, 1),
            "the revocation is not accepted: revocation is signed with key",
        ),
        wrong(flipped(good), (REVOCATION, 2), "revocation does not bear a signature of key"),
        wrong(
            by(&world.revocation(), &world.revoker, 6),
            (REVOCATION, 3),
            "revocation 6 is older than revocation 7",
        ),
        wrong(
            by(&Revocation::default(), &world.revoker, 7),
            (REVOCATION, 4),
            "there are two revocations 7, both signed",
        ),
        wrong(
            by(&Revocation::default(), &world.revoker, 8),
            (REVOCATION, 5),
            "revocation 8 takes back a digest",
        ),
        wrong(stolen(&world.operator), (GRANT, 4), "which was revoked"),
        wrong(stolen(&world.vendor), (RELEASE, 4), "which was revoked"),
        wrong(names(*plugin.release()), (REVOKED, 0), "the release of plugin acme/executor-pump was revoked"),
        wrong(names(*plugin.component()), (REVOKED, 1), "the component of plugin"),
        wrong(names(*plugin.grant()), (REVOKED, 2), "the grant of plugin acme/executor-pump was revoked"),
        wrong(names(artifact.digest), (REVOKED, 3), "the code of plugin acme/executor-pump was revoked"),
        wrong(
            plus(Revocation { plugins: vec![oldest], ..Revocation::default() }),
            (REVOKED, 4),
            "release 7 of plugin acme/executor-pump was revoked: release 8 is the oldest",
        ),
        wrong(
            plus(Revocation { compilers: vec![compiler], ..Revocation::default() }),
            (REVOKED, 5),
            "is by compiler 48.0.8, 48.0.9 is the oldest that may be",
        ),
    ]
}

fn releases(world: &World) -> Vec<Way<Vec<u8>>> {
    let sign = |plugin: &PluginRelease, sequence| plugin.sign(&world.vendor, stamp(sequence)).unwrap();
    let good = sign(&world.plugin(), 7);
    let other = PluginRelease { id: PluginId::parse("other/executor-pump").unwrap(), ..world.plugin() };
    vec![
        right(good.clone()),
        wrong(Vec::new(), (RELEASE, 0), "plugin release ends before its end"),
        wrong(world.statement(Kind::Grant), (RELEASE, 1), "a plugin release was expected, this is a grant"),
        wrong(
            world.plugin().sign(&world.operator, stamp(7)).unwrap(),
            (RELEASE, 3),
            "plugin release is signed with key",
        ),
        wrong(flipped(good), (RELEASE, 5), "plugin release does not bear a signature of key"),
        wrong(sign(&other, 7), (RELEASE, 6), "which may not use this name here"),
        // Well signed, and not the one that was granted.
        wrong(sign(&world.plugin(), 9), (AGREEMENT, 0), "the grant is for release"),
    ]
}

fn grants(world: &World) -> Vec<Way<Vec<u8>>> {
    let next_door = World::of("valves", 1);
    let sign = |stamp| world.grant().sign(&world.operator, world.fleet.clone(), stamp).unwrap();
    let with = |change: &dyn Fn(&mut backstay_trust::Grant)| {
        let mut grant = world.grant();
        change(&mut grant);
        grant.sign(&world.operator, world.fleet.clone(), stamp(7)).unwrap()
    };
    let good = sign(stamp(7));
    let mut other_version = world
        .grant()
        .draft_back_to(&Version::parse("1.0.0").unwrap(), world.fleet.clone(), stamp(7))
        .unwrap();
    other_version.sign(&world.operator).unwrap();
    vec![
        right(good.clone()),
        wrong(good[..good.len() - 1].to_vec(), (GRANT, 0), "grant ends before its end"),
        wrong(
            world.statement(Kind::PluginRelease),
            (GRANT, 1),
            "a grant was expected, this is a plugin release",
        ),
        wrong(next_door.statement(Kind::Grant), (GRANT, 2), "grant is for fleet valves, this is fleet pumps"),
        wrong(
            world.grant().sign(&world.director, world.fleet.clone(), stamp(7)).unwrap(),
            (GRANT, 3),
            "grant is signed with key",
        ),
        wrong(flipped(good), (GRANT, 6), "grant does not bear a signature of key"),
        wrong(
            with(&|grant| grant.permissions.slots = true),
            (AGREEMENT, 1),
            "is granted slot, which its vendor does not ask for",
        ),
        wrong(sign(stamp(4)), (ORDER, 0), "grant 4 of plugin acme/executor-pump is older than grant 5"),
        wrong(sign(stamp(5)), (ORDER, 1), "there are two grants 5 of plugin acme/executor-pump, both signed"),
        wrong(other_version.encode().unwrap(), (ORDER, 2), "back to 1.0.0, and this release is 1.2.3"),
        wrong(
            sign(Stamp { expires: Some(UnixMs(1_100)), ..stamp(7) }),
            (ORDER, 3),
            "the grant of plugin acme/executor-pump expired at 1100",
        ),
        wrong(
            with(&|grant| grant.artifacts[0].target = Target::parse("riscv64-linux").unwrap()),
            (MACHINE, 0),
            "has no code for x86_64-unknown-linux-gnu",
        ),
    ]
}

fn code() -> Vec<Way<Vec<u8>>> {
    vec![
        right(ARTIFACT.to_vec()),
        wrong([ARTIFACT, b"\0"].concat(), (CODE, 0), "has 21 bytes, the grant says 20"),
        wrong(Vec::new(), (CODE, 0), "has 0 bytes, the grant says 20"),
        wrong(flipped(ARTIFACT.to_vec()), (CODE, 1), "is not what the grant names"),
    ]
}

/// An error as the programs print it, and whether it says what to do.
fn words(error: &dyn std::error::Error, help: Option<&'static str>) -> String {
    assert!(help.is_some(), "{error} has no help");
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn trusting(world: &World, link: &[u8]) -> Result<Keyring, String> {
    let mut chain = Chain::new(world.keyring.clone());
    chain.follow(link).map_err(|error: ChainError| words(&error, error.help()))?;
    Ok(chain.newest().clone())
}

/// The one before it is heeded already, as on a device that was connected yesterday.
fn heeding(world: &World, keyring: &Keyring, revocation: &[u8]) -> Result<Keyring, String> {
    let yesterday = world.statement(Kind::Revocation);
    let words = |error: RevocationError| words(&error, error.help());
    let keyring = keyring.clone().revoking(Some(keyring.verify_revocation(&yesterday).map_err(words)?));
    let heeded = keyring.verify_revocation(revocation).map_err(words)?;
    Ok(keyring.revoking(Some(heeded)))
}

#[test]
fn exactly_one_of_all_combinations_runs() {
    let world = World::new();
    let (links, revocations, releases, grants, code) =
        (links(&world), revocations(&world), releases(&world), grants(&world), code());
    let accepted = Accepted { sequence: 5, grant: Some(Digest([1; 32])), release: 6 };
    let floors = BTreeMap::from([(world.plugin().id, Floor { newest: accepted, before: None })]);
    let (artifact, plugin) = (world.artifact(), world.plugin());
    let want = Want {
        target: &artifact.target,
        engine: &artifact.engine,
        world: &plugin.world,
        floors: &floors,
        attested: Some(UnixMs(1_500)),
    };

    let (mut tried, mut ran) = (0, 0);
    for link in &links {
        let trusted = trusting(&world, &link.brings);
        for revocation in &revocations {
            let heeded = trusted
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|keyring| heeding(&world, keyring, &revocation.brings));
            for release in &releases {
                for grant in &grants {
                    for code in &code {
                        let result = heeded.as_ref().map_err(Clone::clone).and_then(|keyring| {
                            let bytes = code.brings.clone();
                            keyring
                                .verify_plugin(&release.brings, &grant.brings, bytes, &want)
                                .map_err(|error: PluginError| words(&error, error.help()))
                        });
                        let broken =
                            [link.broken, revocation.broken, release.broken, grant.broken, code.broken];
                        let first = broken.into_iter().flatten().min();
                        tried += 1;
                        match (first, result) {
                            (None, Ok(plugin)) => {
                                assert_eq!(plugin.bytes(), ARTIFACT);
                                ran += 1;
                            }
                            (Some((_, said)), Err(words)) => {
                                assert!(words.contains(said), "{said:?} was to be said, not {words:?}");
                            }
                            (None, Err(words)) => panic!("all is right, and {words}"),
                            (Some((_, said)), Ok(_)) => panic!("it runs, though {said:?}"),
                        }
                    }
                }
            }
        }
    }
    assert_eq!((tried, ran), (13 * 15 * 7 * 12 * 4, 1));
}
