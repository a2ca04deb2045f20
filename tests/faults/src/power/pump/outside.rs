//! What comes from outside: steering of releases and of plugins, keyrings and revocations, and receipts.

use super::*;

impl Pump {
    /// A retained message leads to a release, or home from it.
    ///
    /// # Errors
    /// What doesn't work any more.
    pub fn is_steered(&mut self, generation: u64, version: &str, direction: Direction) -> Fallible<()> {
        let steer =
            steer(generation, &format!("r-{}", version.replace('.', "-")), release(version), direction);
        self.gives(Input::Steered(steer))?;
        self.says(&format!("followed {}", self.device.watermarks().generation.0));
        Ok(())
    }

    /// The same for a bundle of plugins.
    ///
    /// # Errors
    /// What doesn't work any more.
    pub fn is_steered_to_bundle(&mut self, generation: u64, number: u8) -> Fallible<()> {
        let bundle = bundle(number).release;
        let steer = steer(generation, &format!("p-{number}"), bundle, Direction::Forward);
        self.upgrades(UpgradeInput::Steered(Box::new(steer)))
    }

    pub(super) fn upgrades(&mut self, input: UpgradeInput) -> Fallible<()> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let effects = self.upgrade.step(self.now, &retries(), input);
            let recorded = effects.iter().filter_map(|effect| match effect {
                UpgradeEffect::Record(event) => Some(event.clone()),
                UpgradeEffect::Refuse(_)
                | UpgradeEffect::Fetch { .. }
                | UpgradeEffect::Try(_)
                | UpgradeEffect::Promote(_)
                | UpgradeEffect::Dismiss(_)
                | UpgradeEffect::Report => None,
            });
            self.record(&recorded.collect::<Vec<_>>())?;
            for effect in effects {
                match effect {
                    UpgradeEffect::Record(_) | UpgradeEffect::Refuse(_) | UpgradeEffect::Report => {}
                    UpgradeEffect::Fetch { ticket, bundle } => {
                        keep_bundle(&self.dir, &bundle).map_err(why("a bundle can't be kept"))?;
                        self.says(&format!("bundle {}", bundle.digest));
                        let number = (1..=9).find(|number| self::bundle(*number).release == bundle);
                        let fetched = Fetched::Ready {
                            plugin: PluginId::parse("backstay/executor-ota").unwrap(),
                            role: PluginRole::Executor,
                            grant: self::bundle(number.ok_or("nobody knows this bundle")?).grant,
                            rival: false,
                        };
                        inputs.push_back(UpgradeInput::Fetched { ticket, fetched });
                    }
                    UpgradeEffect::Try(bundle) | UpgradeEffect::Promote(bundle) => {
                        self.executor = bundle.grant;
                        self.says(&format!("asks {}", bundle.grant));
                    }
                    UpgradeEffect::Dismiss(bundle) => {
                        if self.executor == bundle.grant {
                            self.executor = self::bundle(1).grant;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The trust topic names a keyring, whose links are fetched.
    ///
    /// # Errors
    /// If it isn't followed.
    pub fn is_told_of_keyring(&mut self, number: u64) -> Fallible<()> {
        let mut changed = false;
        // One that is trusted already, or was, is known by its number.
        for link in
            course::links().into_iter().skip((trusted(&self.trust).0 - 1) as usize).take(number as usize - 1)
        {
            changed |= self.trust.follow(&link).map_err(why("a link isn't followed"))?;
        }
        self.heeds(changed)
    }

    /// A revocation is named there.
    ///
    /// # Errors
    /// If it isn't heeded.
    pub fn is_told_of_revocation(&mut self) -> Fallible<()> {
        let changed = self.trust.revoke(course::revocation()).map_err(why("no revocation is heeded"))?;
        self.heeds(changed)
    }

    fn heeds(&mut self, changed: bool) -> Fallible<()> {
        let (keyring, revocation) = trusted(&self.trust);
        if changed {
            self.says(&format!("trusts {keyring} {}", revocation.unwrap_or(0)));
            let told = self.trust.told();
            self.record(&[told])?;
        }
        Ok(())
    }

    /// The broker is there: what the server has no receipt for goes out, and it gives one for each batch.
    ///
    /// # Errors
    /// If a receipt is refused, or records are sent that don't follow on the last receipt.
    pub fn drains(&mut self) -> Fallible<()> {
        while let Some(batch) = self.memory.unreceipted() {
            if batch.first != self.memory.receipt() + 1 {
                return Err(format!(
                    "it sends from {} on, and has receipt {}",
                    batch.first,
                    self.memory.receipt()
                ));
            }
            let head = self.memory.head();
            self.says(&format!("sent {}", head.seq));
            let receipt = Receipt { epoch: head.epoch, seq: head.seq, head: Digest(head.hash) };
            self.memory.receipted(&receipt).map_err(why("a receipt is refused"))?;
            let words = self.words();
            if self.memory.anchor(&words) != Durability::Durable {
                return Err("the anchor takes nothing".into());
            }
        }
        self.memory.flush();
        Ok(())
    }
}

fn steer(generation: u64, rollout: &str, release: Release, direction: Direction) -> Steered {
    let steer = Steer {
        rollout: RolloutId::parse(rollout).unwrap(),
        generation: Generation(generation),
        cohort: CohortId::parse("canary").unwrap(),
        selector: Selector::All,
        release,
        back: None,
        reach: Reach::ALL,
        direction,
        frozen: direction == Direction::Home,
        policies: Vec::new(),
        reconnect_window: Millis::from_secs(10),
    };
    let digest = Digest([generation as u8; 32]);
    let by = Digest([3; 32]);
    Steered { steer, digest, freshness: Freshness::Fresh, second: Second::Missing, by }
}

/// As the agent keeps what was fetched: its bytes are durable, and get a second name in a folder of their own.
fn keep_bundle(dir: &Path, bundle: &Release) -> io::Result<()> {
    let (cache, folder) = (dir.join("artifacts"), dir.join("plugins"));
    fs::create_dir_all(&cache)?;
    let (part, fetched) =
        (cache.join(format!("{}.part", bundle.digest)), cache.join(bundle.digest.to_string()));
    fs::write(&part, bytes(bundle.version.as_str()))?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, &fetched)?;
    File::open(&cache)?.sync_all()?;
    keep_folder(&folder)?;
    let beside = folder.join("fetched.new");
    drop(fs::remove_file(&beside));
    fs::hard_link(&fetched, &beside)?;
    fs::rename(&beside, folder.join(format!("{}.bundle", bundle.digest)))?;
    drop(fs::remove_file(&beside));
    File::open(&folder)?.sync_all()
}
