//! The one task that holds the state, and everything around it that waits: the API, the link, the clock, signals.
//!
//! It acts and never decides. Not here: what follows from what comes in (`server`).

use std::{
    error::Error,
    fs,
    future::pending,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_api::{Call, Calls, Shelf, routes};
use backstay_hands::{Leftovers, Mark};
use backstay_link::{Broker, Filter, Handle, Happening, Incoming, Link, PublishError, Qos, Settings};
use backstay_memory::{Memory, Options, keep_file};
use backstay_model::{Event, Millis, causes};
use backstay_trust::PublicKey;
use backstay_wire::{Qos as WireQos, TopicFilter};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    archive::Archive,
    bundles::Bundles,
    catalogue::Catalogue,
    clock::Clock,
    config::Config,
    diary::Diary,
    door::{Bounds, Door},
    floors::Floors,
    judge::Ask,
    kept::Keeper,
    register::Register,
    server::{Parts, Server, degraded},
    setup::Setup,
    targets::{Came, Doer},
};

/// Calls that wait for the one task. Who comes beyond waits outside.
const CALLS_MAX: usize = 64;
/// The largest packet of either direction: the largest log batch, and room.
const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Messages that wait for the link or for the server. Steering of as many cohorts goes out in one go.
const QUEUE_MAX: usize = 4096;
/// How long calls that are under way may take when the server is asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// In the state folder, the public key that the journal is named by.
pub(crate) const INSTANCE: &str = "instance.pub";
/// The loop looks around at least this often.
const WAKE_EVERY: Millis = Millis::from_secs(60);

/// Runs until it is asked to stop.
pub(crate) async fn run(setup: Setup) -> Result<(), Box<dyn Error>> {
    let Setup {
        config,
        director,
        trusted: (trusted, untold),
        tokens,
        judge,
        tls,
        mut targets,
        verdicts,
        path,
    } = setup;
    let listener = TcpListener::bind(config.api.listen)
        .await
        .map_err(|error| format!("cannot listen on {} for the API: {error}", config.api.listen))?;
    let embedded = config.embedded_broker.map(embedded_broker).transpose()?;

    let state = &config.state;
    let instance = instance(state, &director.key().public())?.id().0.to_string();
    let options = Options { instance: instance.clone(), bytes_max: config.journal.mib_max << 20 };
    let (memory, recalled) = Memory::open(state, options)?;
    // Whoever else had this state is gone: there is one memory, and now it is open here.
    let mark = Mark::new(&instance, state)
        .map_err(|error| format!("cannot find {} again: {error}", state.display()))?;
    let outlived = outlived(&mark);
    let clock = Clock::from(recalled.clock);
    let mut keeper = Keeper::open(&state.join("beside"))?;
    let (kept, lost) = recalled.snapshot.as_deref().map(|bytes| keeper.read(bytes)).unwrap_or_default();
    let (statements, artifacts) =
        (Shelf::open(state.join("statements"))?, Shelf::open(state.join("artifacts"))?);
    let (catalogue, left_out) = Catalogue::open(statements.clone(), artifacts.clone(), director.keyring());
    let plugins = Shelf::open(state.join("plugins"))?;
    let (bundles, not_granted) = Bundles::open(plugins, artifacts.clone(), director.keyring());
    let (floors, forgotten) = Floors::open(&state.join("reports"));
    let (plugin_floors, forgotten_too) = Floors::open(&state.join("plugin-reports"));
    let untold = untold.iter().map(|error| causes::in_one_line(error));
    let forgotten = forgotten.into_iter().chain(forgotten_too);
    let lost =
        lost.into_iter().chain(left_out).chain(not_granted).chain(forgotten).chain(untold).chain(outlived);
    let odd: Vec<Event> = recalled.findings.into_iter().chain(lost.map(degraded)).collect();

    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("no randomness: {error}"))?;
    let seed = u64::from_le_bytes(random);
    let filters = TopicFilter::for_server(director.fleet());
    let fleet = director.fleet().clone();
    let parts = Parts {
        plan: config.plan(),
        refresh_every: Millis((config.steer_expires.millis().0 / 4).max(1)),
        diary: memory,
        judge,
        register: Register::open(&state.join("register"))?,
        archive: Archive::open(&state.join("archive"))?,
        catalogue,
        keeper,
        floors,
        plugin_floors,
        bundles,
        trusted,
        director,
        seed,
        verdicts,
    };
    let mut server = Server::new(parts, kept, odd, clock.now());
    let (mut doer, came) = Doer::new();
    let (hands, prometheus, pager) = targets.take_means(&mark);
    doer.equip(hands, prometheus, pager);
    server.configure_targets(clock.now(), targets);
    let (handle, link) = link(&config, embedded.as_ref(), &instance, &filters)?;
    let incoming = beside(link);
    if tls.is_none() && !config.api.listen.ip().is_loopback() {
        tracing::warn!("the API is open to its network without TLS: the token can be read there");
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let api = format!("{scheme}://{}", listener.local_addr()?);
    tracing::info!(%fleet, %api, state = %state.display(), "the server is up");

    let (calls, waiting) = Calls::new(CALLS_MAX);
    let (stop, stopped) = oneshot::channel();
    let router = routes(calls, tokens, artifacts, statements);
    let door = Door::new(listener, tls, Bounds::default());
    // The sender's end counts as being asked to stop.
    let api = tokio::spawn(door.serve(router, async { drop(stopped.await) }));
    let signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
    };
    Desk { server, clock, handle, incoming, waiting, signals, doer, came, path, mark }.run(stop, api).await
}

/// Whose journal it is: the director's key at the first start, for good. Another director goes on with the same journal.
fn instance(state: &Path, now: &PublicKey) -> Result<PublicKey, Box<dyn Error>> {
    let path = state.join(INSTANCE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            Ok(text.trim().parse().map_err(|why| format!("{} holds no key: {why}", path.display()))?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(state)?;
            keep_file(&path, now.to_string().as_bytes())
                .map_err(|why| format!("cannot keep {}: {why}", path.display()))?;
            Ok(*now)
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
    }
}

/// Ends what commands had started that outlived the server before this one. No run has gone on yet, so nothing is done again
/// while the first is still at work. Says what there was, if there was anything.
fn outlived(mark: &Mark) -> Option<String> {
    match mark.end_leftovers() {
        Ok(leftovers) if leftovers == Leftovers::default() => None,
        Ok(leftovers) => {
            if !leftovers.remain.is_empty() {
                tracing::error!(processes = ?leftovers.remain, "what commands had started could not be ended; end it by hand");
            }
            Some(leftovers.to_string())
        }
        Err(error) => {
            Some(format!("nobody could look for processes of commands that outlived the server: {error}"))
        }
    }
}

/// Everything that can happen comes in here.
struct Desk<D, P> {
    server: Server<D, P>,
    clock: Clock,
    handle: Handle,
    incoming: mpsc::Receiver<Happening>,
    waiting: mpsc::Receiver<Call>,
    signals: Signals,
    /// Does for targets what waits.
    doer: Doer,
    came: mpsc::Receiver<Came>,
    /// The configuration.
    path: PathBuf,
    /// What commands carry.
    mark: Mark,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// The closed list of what can happen.
enum Comes {
    Call(Call),
    Happening(Happening),
    Came(Came),
    Time,
    Reload,
    Stop,
    Stopped,
}

impl<D: Diary, P: Ask> Desk<D, P> {
    async fn run(mut self, stop: oneshot::Sender<()>, mut api: JoinHandle<()>) -> Result<(), Box<dyn Error>> {
        let (mut stop, mut patience) = (Some(stop), None);
        loop {
            self.send();
            let wake = self.server.deadline().min(self.clock.now().mono.after(WAKE_EVERY));
            let wake = self.clock.instant(wake);
            let comes = tokio::select! {
                Some(call) = self.waiting.recv() => Comes::Call(call),
                happening = self.incoming.recv() => match happening {
                    Some(happening) => Comes::Happening(happening),
                    None => return Err("the link with the broker has ended".into()),
                },
                Some(came) = self.came.recv() => Comes::Came(came),
                () = sleep_until(wake.into()) => Comes::Time,
                asked = self.signals.asked() => asked,
                () = over(patience) => Comes::Stopped,
                ended = &mut api => {
                    ended?;
                    Comes::Stopped
                }
            };
            let now = self.clock.now();
            match comes {
                Comes::Call(call) => self.server.call(now, call),
                Comes::Happening(happening) => self.server.happened(now, happening),
                Comes::Came(came) => self.server.came(now, came),
                Comes::Time => self.server.tick(now),
                Comes::Reload => self.reload(),
                Comes::Stop if stop.is_none() => break,
                Comes::Stop => {
                    tracing::info!("stopping");
                    drop(stop.take());
                    patience = Some(Instant::now() + STOP_PATIENCE);
                }
                Comes::Stopped => break,
            }
        }
        self.send();
        self.server.note_floors();
        self.handle.leave();
        while self.incoming.recv().await.is_some() {}
        tracing::info!("stopped");
        Ok(())
    }

    /// Reads the targets anew. If anything is wrong, all stays as it is.
    fn reload(&mut self) {
        match Setup::reread(&self.path, self.server.keyring()) {
            Ok(mut targets) => {
                let (hands, prometheus, pager) = targets.take_means(&self.mark);
                self.doer.equip(hands, prometheus, pager);
                self.server.configure_targets(self.clock.now(), targets);
                tracing::info!(path = %self.path.display(), "the targets were read anew");
            }
            Err(problems) => {
                tracing::error!(%problems, "the configuration is wrong: the one from before stays");
            }
        }
    }

    /// Hands over what goes out, and begins what waits.
    fn send(&mut self) {
        let now = self.clock.now().unix;
        for todo in self.server.todo() {
            self.doer.begin(todo, now);
        }
        for outgoing in self.server.outgoing() {
            let topic = outgoing.topic.clone();
            match self.handle.publish(outgoing) {
                Ok(()) => {}
                // Everything is said again on the next connection.
                Err(PublishError::Offline) => return,
                Err(
                    error @ (PublishError::Full | PublishError::Large { .. } | PublishError::Topic { .. }),
                ) => {
                    tracing::warn!(topic, %error, "not published; it is said again in a while");
                    self.server.unsent(self.clock.now());
                }
            }
        }
    }
}

impl Signals {
    /// What somebody asks of the process.
    async fn asked(&mut self) -> Comes {
        tokio::select! {
            _ = self.interrupt.recv() => Comes::Stop,
            _ = self.terminate.recv() => Comes::Stop,
            _ = self.hangup.recv() => Comes::Reload,
        }
    }
}

async fn over(patience: Option<Instant>) {
    match patience {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn embedded_broker(listen: SocketAddr) -> Result<Broker, Box<dyn Error>> {
    let broker = Broker::start(listen)?;
    tracing::warn!(address = %broker.address(), "{}", Broker::KEEPS_NOT);
    Ok(broker)
}

/// The broker is read beside the desk, so that it is while the desk waits for a disk.
fn beside(mut incoming: Incoming) -> mpsc::Receiver<Happening> {
    let (tell, told) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(async move {
        while let Some(happening) = incoming.next().await {
            if tell.send(happening).await.is_err() {
                return;
            }
        }
    });
    told
}

fn link(
    config: &Config,
    embedded: Option<&Broker>,
    instance: &str,
    filters: &[TopicFilter],
) -> Result<(Handle, Incoming), Box<dyn Error>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("no randomness: {error}"))?;
    let seed = u64::from_le_bytes(random);
    // Two servers with one key push each other off the broker: it is seen at once, and neither steers for long.
    let client: String = format!("backstay-server-{instance}").chars().take(32).collect();
    let mut settings = match (&config.broker, embedded) {
        (Some(broker), _) => Settings::of(broker, client, seed)?,
        (None, Some(broker)) => Settings::new(format!("mqtt://{}", broker.address()).parse()?, client, seed),
        (None, None) => return Err("no broker is configured".into()),
    };
    settings.incoming_bytes_max = PACKET_BYTES_MAX;
    settings.outgoing_bytes_max = PACKET_BYTES_MAX;
    settings.queue_max = QUEUE_MAX;
    let filter = |filter: &TopicFilter| Filter {
        topics: filter.as_str().into(),
        qos: match filter.kind().qos() {
            WireQos::AtMostOnce => Qos::AtMostOnce,
            WireQos::AtLeastOnce => Qos::AtLeastOnce,
        },
    };
    settings.filters = filters.iter().map(filter).collect();
    Ok(Link::start(settings)?)
}

#[cfg(test)]
mod tests {
    use backstay_trust::SecretKey;

    use super::*;

    #[test]
    fn another_director_goes_on_with_the_same_journal() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let key = |seed| SecretKey::from_random(&[seed; 32]).public();
        assert_eq!(instance(&state, &key(1)).unwrap(), key(1));
        assert_eq!(instance(&state, &key(2)).unwrap(), key(1));
        fs::write(state.join(INSTANCE), "rot").unwrap();
        let why = instance(&state, &key(2)).unwrap_err().to_string();
        assert!(why.contains("instance.pub holds no key"), "{why}");
    }
}
