//! Who is in the fleet: enrolled devices with their keys, tokens that enrol one more, and who waits for a yes.
//!
//! Each is a small file of its own, written beside and moved into place, so that a crash leaves the old or the
//! new one. Not here: signing an enrolment (`director`), and what a device runs (`roster`).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use backstay_api::EnrolAnswer;
use backstay_model::{CohortId, DeviceId, Digest, Hardware, Label, Millis, Mono};
use backstay_trust::{EnrolToken, KeyId, PublicKey, VerifiedEnrolRequest};
use serde::{Deserialize, Serialize};

/// The most devices that wait for a yes. Who asks beyond that is told to come back.
const PENDING_MAX: usize = 1024;
/// Who has not asked again for so long waits no longer, once others want the place: devices ask every few minutes, and
/// whoever makes up a thousand keys holds nobody up for good.
const PENDING_IDLE: Millis = Millis::from_secs(3600);

/// A device of the fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) device: DeviceId,
    /// Its public key.
    pub(crate) key: PublicKey,
    /// Whose steering it follows.
    pub(crate) cohort: CohortId,
    /// What is said of it.
    pub(crate) labels: Vec<Label>,
    /// Counts its enrolments.
    pub(crate) sequence: u64,
}

impl Member {
    /// What its key is called.
    pub(crate) fn key_id(&self) -> KeyId {
        self.key.id()
    }
}

/// A device that asked and has no token.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Its key.
    pub(crate) key: PublicKey,
    /// What it says that it is.
    pub(crate) hardware: Hardware,
    /// When it asked first.
    pub(crate) since: Mono,
    /// When it asked last.
    asked: Mono,
}

#[derive(Debug, Serialize, Deserialize)]
struct Minted {
    token: String,
    answer: EnrolAnswer,
}

/// The fleet's devices and who may join.
#[derive(Debug)]
pub(crate) struct Register {
    dir: PathBuf,
    members: BTreeMap<DeviceId, Member>,
    minted: BTreeMap<DeviceId, Minted>,
    pending: BTreeMap<KeyId, Pending>,
}

/// Why a device is not enrolled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Somebody has to say yes to its fingerprint.
    Waits,
    /// Too many wait already.
    Crowded,
    /// Its token is none of those that are out.
    Token,
    /// The name belongs to another key.
    Taken(DeviceId),
}

impl Register {
    /// Reads the register in `dir`.
    ///
    /// # Errors
    /// If a file in it can't be read.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut register = Self {
            dir: dir.into(),
            members: BTreeMap::new(),
            minted: BTreeMap::new(),
            pending: BTreeMap::new(),
        };
        for member in read_all::<Member>(&dir.join("members"))? {
            register.members.insert(member.device.clone(), member);
        }
        for minted in read_all::<Minted>(&dir.join("tokens"))? {
            register.minted.insert(minted.answer.device.clone(), minted);
        }
        Ok(register)
    }

    /// All devices, by name.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One of them.
    pub(crate) fn member(&self, device: &DeviceId) -> Option<&Member> {
        self.members.get(device)
    }

    /// Who waits for a yes.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&KeyId, &Pending)> {
        self.pending.iter()
    }

    /// Makes a token that enrols one device as `answer` says. Minted again for the same name, the one before
    /// is no longer good.
    ///
    /// # Errors
    /// If it can't be kept.
    pub(crate) fn mint(&mut self, token: &EnrolToken, answer: EnrolAnswer) -> io::Result<()> {
        let minted = Minted { token: token.to_text().to_string(), answer };
        write(&self.dir.join("tokens"), minted.answer.device.as_str(), &minted)?;
        self.minted.insert(minted.answer.device.clone(), minted);
        Ok(())
    }

    /// Who a request comes from, if that is settled: a member that asks again, or one whose token is good. The
    /// token is used up by [`Register::admit`].
    ///
    /// # Errors
    /// Why it is not settled.
    pub(crate) fn settle(
        &mut self,
        request: &VerifiedEnrolRequest,
        now: Mono,
    ) -> Result<EnrolAnswer, Denied> {
        let key = request.key();
        if let Some(member) = self.members.values().find(|member| member.key == *key) {
            let (device, cohort, labels) =
                (member.device.clone(), member.cohort.clone(), member.labels.clone());
            return Ok(EnrolAnswer { device, cohort, labels });
        }
        if !request.has_proof() {
            if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&key.id()) {
                self.pending.retain(|_, pending| now.since(pending.asked) < PENDING_IDLE);
                if self.pending.len() >= PENDING_MAX {
                    return Err(Denied::Crowded);
                }
            }
            let waits = Pending { key: *key, hardware: request.hardware().clone(), since: now, asked: now };
            self.pending.entry(key.id()).or_insert(waits).asked = now;
            return Err(Denied::Waits);
        }
        let proves =
            |minted: &&Minted| EnrolToken::parse(&minted.token).is_ok_and(|token| request.proves(&token));
        let answer = self.minted.values().find(proves).map(|minted| minted.answer.clone());
        answer.ok_or(Denied::Token)
    }

    /// Takes a device in: durable when this returns. Its token is used up, and it waits no longer.
    ///
    /// # Errors
    /// If its name belongs to another key, or it can't be kept.
    pub(crate) fn admit(
        &mut self,
        key: &PublicKey,
        answer: EnrolAnswer,
    ) -> io::Result<Result<Member, Denied>> {
        let known = self.members.get(&answer.device);
        if let Some(other) = known.filter(|member| member.key != *key) {
            return Ok(Err(Denied::Taken(other.device.clone())));
        }
        let sequence = known.map_or(1, |member| member.sequence + 1);
        let EnrolAnswer { device, cohort, labels } = answer;
        let member = Member { device, key: *key, cohort, labels, sequence };
        write(&self.dir.join("members"), member.device.as_str(), &member)?;
        // It is a member from here on, whatever becomes of the rest.
        self.pending.remove(&key.id());
        self.members.insert(member.device.clone(), member.clone());
        if self.minted.remove(&member.device).is_some() {
            // A token that stays on the disk enrols nobody: the name is taken.
            let token = self.dir.join("tokens").join(format!("{}.json", member.device));
            if let Err(error) = fs::remove_file(token) {
                tracing::warn!(device = %member.device, %error, "a token that was used can't be removed");
            }
        }
        Ok(Ok(member))
    }

    /// The key of somebody who waits, by fingerprint.
    pub(crate) fn waiting(&self, fingerprint: &Digest) -> Option<PublicKey> {
        self.pending.get(&KeyId(*fingerprint)).map(|pending| pending.key)
    }
}

fn read_all<T: for<'de> Deserialize<'de>>(dir: &Path) -> io::Result<Vec<T>> {
    fs::create_dir_all(dir)?;
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let named = |error: serde_json::Error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
            };
            all.push(serde_json::from_slice(&fs::read(&path)?).map_err(named)?);
        }
    }
    Ok(all)
}

fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = dir.join(format!(".{name}.new"));
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(format!("{name}.json")))?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use backstay_model::FleetId;
    use backstay_trust::{EnrolRequest, SecretKey};

    use super::*;

    fn request(key: &SecretKey, token: Option<&EnrolToken>) -> VerifiedEnrolRequest {
        let (fleet, hardware) = (FleetId::parse("demo").unwrap(), Hardware::parse("pump").unwrap());
        let bytes = EnrolRequest::sign(key, fleet.clone(), hardware, 7, token).unwrap();
        VerifiedEnrolRequest::verify(&bytes, &fleet).unwrap()
    }

    fn answer(device: &str) -> EnrolAnswer {
        let (device, cohort) = (DeviceId::parse(device).unwrap(), CohortId::parse("canary").unwrap());
        EnrolAnswer { device, cohort, labels: vec![] }
    }

    #[test]
    fn a_token_enrols_one_device_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = Register::open(dir.path()).unwrap();
        let token = EnrolToken::from_random([7; 16]);
        register.mint(&token, answer("pump-7")).unwrap();
        drop(register);
        let mut register = Register::open(dir.path()).unwrap();
        let (key, other) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
        let wrong = EnrolToken::from_random([8; 16]);
        assert_eq!(register.settle(&request(&key, Some(&wrong)), Mono(0)), Err(Denied::Token));
        let settled = register.settle(&request(&key, Some(&token)), Mono(0)).unwrap();
        register.admit(&key.public(), settled).unwrap().unwrap();
        assert_eq!(register.settle(&request(&other, Some(&token)), Mono(0)), Err(Denied::Token), "used up");
        assert_eq!(register.settle(&request(&key, None), Mono(0)), Ok(answer("pump-7")), "it may ask again");
        let taken = register.admit(&other.public(), answer("pump-7")).unwrap();
        assert!(matches!(taken, Err(Denied::Taken(_))));
        assert!(Register::open(dir.path()).unwrap().member(&answer("pump-7").device).is_some());
    }

    /// Somebody makes up keys until nobody else finds a place. Those that don't ask again make room in the end.
    #[test]
    fn who_only_asked_once_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = Register::open(dir.path()).unwrap();
        let key = |n: usize| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_le_bytes());
            SecretKey::from_random(&seed)
        };
        let honest = key(0);
        assert_eq!(register.settle(&request(&honest, None), Mono(0)), Err(Denied::Waits));
        for n in 1..PENDING_MAX {
            assert_eq!(register.settle(&request(&key(n), None), Mono(1)), Err(Denied::Waits));
        }
        let late = request(&key(PENDING_MAX), None);
        assert_eq!(register.settle(&late, Mono(2)), Err(Denied::Crowded));
        let later = Mono(0).after(PENDING_IDLE);
        assert_eq!(register.settle(&request(&honest, None), later), Err(Denied::Waits));
        assert_eq!(register.settle(&late, Mono(later.0 + 1)), Err(Denied::Waits));
        assert_eq!(
            register.pending().count(),
            2,
            "the honest one still waits, and since when it asked first"
        );
    }

    /// The process was killed after the device was taken in, and before its token was gone.
    #[test]
    fn a_token_that_was_left_behind_enrols_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = Register::open(dir.path()).unwrap();
        let token = EnrolToken::from_random([7; 16]);
        register.mint(&token, answer("pump-7")).unwrap();
        let minted = dir.path().join("tokens/pump-7.json");
        let left = fs::read(&minted).unwrap();
        let (key, other) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
        register.admit(&key.public(), answer("pump-7")).unwrap().unwrap();
        fs::write(&minted, left).unwrap();
        let mut register = Register::open(dir.path()).unwrap();
        let settled = register.settle(&request(&other, Some(&token)), Mono(0)).unwrap();
        assert!(matches!(register.admit(&other.public(), settled).unwrap(), Err(Denied::Taken(_))));
    }

    #[test]
    fn without_a_token_somebody_has_to_say_yes() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = Register::open(dir.path()).unwrap();
        let key = SecretKey::from_random(&[1; 32]);
        assert_eq!(register.settle(&request(&key, None), Mono(5)), Err(Denied::Waits));
        assert_eq!(register.settle(&request(&key, None), Mono(9)), Err(Denied::Waits));
        let (fingerprint, pending) = register.pending().next().unwrap();
        assert_eq!(pending.since, Mono(5));
        let waiting = register.waiting(&fingerprint.0).unwrap();
        register.admit(&waiting, answer("pump-8")).unwrap().unwrap();
        assert_eq!(register.pending().count(), 0);
        assert!(register.settle(&request(&key, None), Mono(9)).is_ok());
    }
}
