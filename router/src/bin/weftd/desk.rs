//! What the server is told, and what it asks for.

mod addresses;
mod exposing;
mod pods;

pub(crate) use addresses::{leased, mixed_up, wish_for};

use std::sync::Arc;
use std::time::Duration;

use api::{Connect, Forget, Problem};
use peer_mesh::shell::{Endpoint, Handle};
use router::guard::Tally;
use router::serve::{Because, Bytes, Daemon, FdbLook, Gone, Look, Refusal};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::addresses::{Office, Seen};
use crate::control::{Request, View};
use crate::data::Sight;
use crate::exposed::Exposed;
use crate::failure::writable;
use crate::given::{Given, PEERS_MAX};
use crate::look::{self, Facts};
use crate::pods::Pods;
use crate::sentry::Ask;
use crate::stations::Stations;
use crate::tick::Clock;

/// How old what is told may be: so often at most is the control loop asked.
const RECENT: Duration = Duration::from_millis(100);
/// And so much older for each station: a good deal more than it takes to look at it.
const EACH: Duration = Duration::from_micros(5);
/// How old the guard's counters may be: nft is a process of its own.
const TALLY: Duration = Duration::from_secs(1);
/// How long the guard may take, and the kernel to have an address.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where everything that is told comes from.
pub(crate) struct Desk {
    mesh: Handle,
    control: mpsc::Sender<Request>,
    guard: mpsc::Sender<Ask>,
    office: Office,
    sight: watch::Receiver<Sight>,
    given: Mutex<Given>,
    exposed: Mutex<Exposed>,
    /// Held by whoever leases or frees an address of the bridge, until that is what is exposed.
    exposing: Mutex<()>,
    pods: Pods,
    facts: Facts,
    clock: Clock,
    last: Mutex<Last>,
    /// Where stations were when that was told last, and until when it is good enough.
    fdb: Mutex<Option<(Duration, Arc<FdbLook>)>>,
}

/// What was told last.
#[derive(Default)]
struct Last {
    look: Option<(Duration, Arc<Look>)>,
    tally: Option<(Duration, Tally)>,
}

impl Desk {
    /// One that asks these.
    pub(crate) fn new(
        (mesh, control, guard, office): (Handle, mpsc::Sender<Request>, mpsc::Sender<Ask>, Office),
        sight: watch::Receiver<Sight>,
        (given, exposed, pods): (Given, Exposed, Pods),
        facts: Facts,
        clock: Clock,
    ) -> Self {
        let (given, exposed) = (Mutex::new(given), Mutex::new(exposed));
        let (exposing, last, fdb) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self {
            mesh,
            control,
            guard,
            office,
            sight,
            given,
            exposed,
            exposing,
            pods,
            facts,
            clock,
            last,
            fdb,
        }
    }
}

impl Daemon for Desk {
    async fn look(&self) -> Result<Arc<Look>, Gone> {
        // Who comes while somebody looks waits, and gets the same.
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        if let Some((_, look)) = last.look.as_ref().filter(|(at, _)| now < *at + RECENT) {
            return Ok(Arc::clone(look));
        }
        let (view, mesh) = (self.view().await?, self.mesh.recent().await.map_err(|_| Gone)?);
        let ipam = self.office.look().await?;
        if last.tally.as_ref().is_none_or(|(at, _)| now >= *at + TALLY)
            && let Some(tally) = self.tally().await
        {
            last.tally = Some((now, tally));
        }
        let tally = last.tally.as_ref().map(|(_, tally)| tally);
        let mut look = look::look(&self.facts, &view, &mesh, &self.sight.borrow(), tally);
        if let Some(Seen { look: mut ipam, mut counters }) = ipam {
            let exposed = self.exposed.lock().await;
            ipam.here.exposed = exposed.all();
            ipam.conflicts.extend(exposed.contested().conflicts());
            counters.insert("exposed_contested".to_owned(), exposed.contested().found);
            drop(exposed);
            look.ipam = Some(Arc::new(ipam));
            look.counters.insert("ipam".to_owned(), counters);
        }
        look.counters.insert("pods".to_owned(), self.pods.counters());
        let look = Arc::new(look);
        last.look = Some((now, Arc::clone(&look)));
        Ok(look)
    }

    async fn fdb(&self) -> Result<Arc<FdbLook>, Gone> {
        let mut last = self.fdb.lock().await;
        if let Some((_, fdb)) = last.as_ref().filter(|(until, _)| self.clock.now() < *until) {
            return Ok(Arc::clone(fdb));
        }
        let look = self.look().await?;
        let (to, answer) = oneshot::channel();
        self.control.send(Request::Stations(to)).await.map_err(|_| Gone)?;
        let Stations { now, rows, total } = answer.await.map_err(|_| Gone)?;
        let each = EACH * u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let fdb = Arc::new(FdbLook { look, now, rows, total });
        *last = Some((self.clock.now() + RECENT + each, Arc::clone(&fdb)));
        Ok(fdb)
    }

    async fn connect(&self, request: Connect) -> Result<api::Given, Refusal> {
        let wanted = endpoints("connect", &request.peers)?;
        let mut given = self.given.lock().await;
        let mut texts = if request.replace { Vec::new() } else { given.texts() };
        for text in wanted.iter().map(Endpoint::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        if texts.len() > PEERS_MAX {
            let why = format!("{} would be given, and {PEERS_MAX} can be", texts.len());
            return Err(refusal(
                Because::Forbidden,
                "connect",
                why,
                "forget some first, or use --replace",
            ));
        }
        store(&mut given, texts)?;
        let done = match request.replace {
            true => self.mesh.replace(given.peers()).await,
            false => {
                let mut all = Ok(true);
                for peer in wanted {
                    all = self.mesh.connect(peer).await.and_then(|done| all.map(|all| all && done));
                }
                all
            }
        };
        self.renew().await;
        match done {
            Ok(true) => Ok(api::Given { peers: given.texts() }),
            Ok(false) => Err(refusal(
                Because::Forbidden,
                "connect",
                "the mesh dials as many as it can".into(),
                "forget some first",
            )),
            Err(_) => Err(stopped("connect")),
        }
    }

    async fn forget(&self, request: Forget) -> Result<api::Given, Refusal> {
        let unwanted = endpoints("forget", &request.peers)?;
        let mut given = self.given.lock().await;
        let texts: Vec<_> = unwanted.iter().map(Endpoint::to_string).collect();
        let left = given.texts().into_iter().filter(|text| !texts.contains(text)).collect();
        store(&mut given, left)?;
        for peer in unwanted {
            self.mesh.forget(peer).await.map_err(|_| stopped("forget"))?;
        }
        self.renew().await;
        Ok(api::Given { peers: given.texts() })
    }

    async fn journal(&self) -> Result<Bytes, Refusal> {
        let gone = || stopped("write the journal");
        let (to, answer) = oneshot::channel();
        self.control.send(Request::Journal(to)).await.map_err(|_| gone())?;
        let copy = answer.await.map_err(|_| gone())?;
        let file = tokio::task::spawn_blocking(move || copy.emit()).await.map_err(|_| gone())?;
        Ok(file.into())
    }
}

impl Desk {
    async fn view(&self) -> Result<View, Gone> {
        let (to, answer) = oneshot::channel();
        self.control.send(Request::View(to)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Who asks after a change is told of it.
    async fn renew(&self) {
        // A mesh that has stopped tells nothing.
        let _ = self.mesh.snapshot().await;
        self.last.lock().await.look = None;
    }

    /// What the guard has counted, if it tells.
    async fn tally(&self) -> Option<Tally> {
        let (to, answer) = oneshot::channel();
        self.guard.try_send(to).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

/// All of them, or none.
fn endpoints(what: &str, peers: &[String]) -> Result<Vec<Endpoint>, Refusal> {
    let parsed = peers.iter().map(|peer| peer.parse());
    let parsed: Result<Vec<Endpoint>, _> = parsed.collect();
    let parsed = parsed.map_err(|error: peer_mesh::shell::NotAnEndpoint| {
        refusal(Because::Senseless, what, error.to_string(), "correct it")
    })?;
    if parsed.is_empty() && what != "connect" {
        return Err(refusal(Because::Senseless, what, "no peer is named".into(), "name one"));
    }
    Ok(parsed)
}

fn store(given: &mut Given, peers: Vec<String>) -> Result<(), Refusal> {
    given.set(peers).map_err(|error| {
        let why = format!("the given peers cannot be stored: {error}");
        refusal(Because::Failed, "change the given peers", why, writable(&error))
    })
}

pub(crate) fn refusal(because: Because, what: &str, why: String, what_to_do: &str) -> Refusal {
    let what = format!("cannot {what}");
    Refusal { because, problem: Problem { what, why, what_to_do: what_to_do.to_owned() } }
}

pub(crate) fn stopped(what: &str) -> Refusal {
    refusal(Because::NotReady, what, "the daemon is stopping".into(), "try again when it runs")
}
