//! Deterministic simulation: devices, edges with a crashing log, and an origin, in one thread, driven by a seed.
//!
//! Checks that the replicas of those who have rights converge, that no change is lost that a device was told is durable, and
//! that nobody writes or learns what he has no right to, while rights change on the way and a document fills up. A failing seed is printed; `SIMULATION_SEED=N cargo test -p sync-protocol --test simulation` replays it, `SIMULATION_SEEDS=N` runs
//! more of them.

#![expect(clippy::unwrap_used, reason = "clippy knows a test function, and not the functions that it calls")]

mod audit;
mod device;
mod edge;
mod memory_log;
mod origin;
mod rights;
#[path = "../wire/wire.rs"]
mod wire;

use automerge::{ChangeHash, ROOT, ReadDoc as _};
use device::Device;
use edge::Edge;
use origin::Origin;
use std::collections::BTreeSet;
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::{DocumentLimits, KindLimits};
use sync_protocol::kind::{self, Access, Kind, versions};
use sync_protocol::token::{AUDIENCE, Claims, ISSUER, Role};

const INSTITUTE: &str = "northside.example";
const STEPS: usize = 400;
/// Most changes of the notes where they fill up: a third of what is written to them in a run.
const FEW_CHANGES: u64 = 12;
/// 48 s of one core in the profile of the tests.
const DEFAULT_SEEDS: u64 = 1_000;
const DEVICES: usize = 4;
/// Rounds of a tenth of a second after which nothing is expected any more: longer than an edge lets a device wait for a document.
const QUIET: usize = 16;
/// Seeds that run at the same time.
const WORKERS: u64 = 2;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

fn claims(user: usize) -> Claims {
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: format!("teacher-{user}"),
        inst: INSTITUTE.into(),
        role: Role::Teacher,
        name: format!("Teacher {user}"),
        dev: format!("phone-{user}"),
        batches: vec![rights::BATCH.into()],
        iat: 0,
        exp: i64::MAX,
        jti: String::new(),
        sid: String::new(),
    }
}

struct World {
    rng: Rng,
    now: u64,
    devices: Vec<Device>,
    edges: Vec<Edge>,
    origin: Origin,
    sheets: Vec<DocumentId>,
    /// Percent of the steps that change somebody's rights. None in half of the runs: where they change, much is refused and less goes on.
    unrest: usize,
    /// Small for notes in a third of the runs, so that edges, which hear of each other's changes late, take more than there is room for.
    limits: KindLimits,
}

fn limits_of(seed: u64) -> KindLimits {
    let whole = KindLimits::default();
    let notes = DocumentLimits { changes: FEW_CHANGES, ..whole.notes };
    if seed.is_multiple_of(3) { KindLimits { notes, ..whole } } else { whole }
}

impl World {
    fn new(seed: u64) -> Self {
        let limits = limits_of(seed);
        let mut origin = Origin::new((0..DEVICES).map(|n| rights::teacher(&claims(n).sub)), limits.clone());
        let sheets: Vec<DocumentId> = (1..=3).map(|n| DocumentId::from_bytes([n; 16])).collect();
        for document in &sheets {
            let genesis = kind::genesis(rights::kind_of(*document), *document).unwrap();
            origin.register(rights::record_of(*document), &genesis);
        }
        let unrest = if seed.is_multiple_of(2) { 0 } else { 3 };
        // In half of the runs one edge knows no versions but the first: what needs a later one waits there for the origin.
        let old_edge = seed / 2 % 2 == 1;
        let known = |edge| if old_edge && edge == 1 { 1 } else { u32::MAX };
        Self {
            rng: Rng(seed),
            now: 1_000,
            devices: (0..DEVICES).map(|n| Device::new(claims(n))).collect(),
            edges: (0..2).map(|n| Edge::new(INSTITUTE, n, edge::limits(&limits, known(n)))).collect(),
            origin,
            sheets,
            unrest,
            limits,
        }
    }

    fn step(&mut self) {
        self.now += self.rng.next() % 200;
        if self.rng.chance(1) {
            // The clock of the edges is set, forward or back.
            let hour = 3_600_000;
            self.now = (self.now + self.rng.next() % (2 * hour)).saturating_sub(hour).max(1);
        }
        let device = self.rng.below(self.devices.len());
        let edge = self.rng.below(self.edges.len());
        if self.rng.below(100) < self.unrest {
            let entry = rights::any(self.devices[device].user(), &mut self.rng);
            self.origin.change_rights(INSTITUTE, entry);
        }
        match self.rng.below(100) {
            0..22 => {
                let document = self.sheets[self.rng.below(self.sheets.len())];
                // Every other device is of a time when sheets had no remarks, as the sheets are.
                match device.is_multiple_of(2) && self.rng.chance(30) {
                    true => self.devices[device].remark(document, &mut self.rng),
                    false => drop(self.devices[device].mark(document, &mut self.rng)),
                }
            }
            22..25 => self.meet(device),
            25..33 => self.devices[device].connect(edge, &mut self.edges),
            33..36 => self.devices[device].lose(&mut self.edges),
            36..38 => self.devices[device].disconnect(&mut self.edges),
            38..60 => {
                self.devices[device].exchange_one(&mut self.edges);
                self.check_receipts(device);
            }
            60..85 => self.edges[edge].run(self.now, &mut self.rng),
            85..88 => self.crash(edge),
            88..90 => self.edges[edge].cut_link(),
            90..93 => self.edges[edge].restore_link(),
            _ => self.edges[edge].exchange_link_roughly(&mut self.origin, &mut self.rng),
        }
    }

    /// Two devices have no network but each other, and exchange all that they have of a document. Each then carries the other's changes.
    fn meet(&mut self, device: usize) {
        let document = self.sheets[self.rng.below(self.sheets.len())];
        let other = self.rng.below(self.devices.len());
        if let Ok([one, other]) = self.devices.get_disjoint_mut([device, other]) {
            one.meet(other, document);
        }
    }

    /// Whether nobody brings the change who may: an actor is its user's, and whoever else has the change carries it in vain.
    fn has_no_bringer(&self, sheet: DocumentId, hash: &ChangeHash) -> bool {
        !self.devices.iter().any(|device| {
            let may = self.origin.access(sheet, device.user()) == Access::Write;
            may && device.has_written(hash) && device.has(sheet, hash)
        })
    }

    /// What a device was told is committed at the origin, the origin has.
    fn check_receipts(&self, device: usize) {
        for sheet in &self.sheets {
            let known = self.origin.hashes(*sheet);
            let told = self.devices[device].committed(*sheet);
            assert!(told.is_subset(&known), "device {device} was told of more than the origin has");
        }
    }

    fn crash(&mut self, edge: usize) {
        for device in &mut self.devices {
            if device.is_at(edge) {
                device.disconnect(&mut self.edges);
            }
        }
        self.edges[edge].crash();
    }

    /// Ends all faults and lets everything flow until nothing moves any more.
    fn heal(&mut self) {
        for device in &mut self.devices {
            device.disconnect(&mut self.edges);
            for sheet in &self.sheets {
                device.open(*sheet);
            }
        }
        for edge in &mut self.edges {
            edge.cut_link();
            edge.restore_link();
        }
        self.settle();
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 5_000, "the network never comes to rest");
            self.now += 100;
            let mut moved = false;
            for (n, device) in self.devices.iter_mut().enumerate() {
                // An edge that is short of memory, or behind with the directory, closes connections.
                if self.origin.is_active(device.user()) {
                    device.connect(n % self.edges.len(), &mut self.edges);
                }
                while device.exchange_one(&mut self.edges) {
                    moved = true;
                }
            }
            for edge in &mut self.edges {
                moved |= edge.run_whole(self.now);
                while edge.exchange_link(&mut self.origin) {
                    moved = true;
                }
            }
            quiet = if moved { 0 } else { quiet + 1 };
            if quiet == QUIET {
                break;
            }
        }
    }

    /// All who may write do so, when every edge knows who may: what they write reaches readers, and nobody else.
    fn last_words(&mut self) {
        let mut words = Vec::new();
        for sheet in &self.sheets {
            for (n, device) in self.devices.iter_mut().enumerate() {
                if self.origin.access(*sheet, device.user()) == Access::Write {
                    let word = std::iter::repeat_with(|| device.mark(*sheet, &mut self.rng)).flatten().next();
                    words.push((*sheet, n, word.unwrap()));
                }
            }
        }
        self.settle();
        for (sheet, writer, word) in words {
            let taken = self.origin.hashes(sheet).contains(&word);
            for (n, device) in self.devices.iter().enumerate().filter(|(n, _)| *n != writer) {
                let reads = self.origin.access(sheet, device.user()) > Access::None;
                let told = device.changes(sheet).iter().any(|change| change.hash() == word);
                // Two edges with room for the last change both take one and show it, and the origin takes the first.
                if told && reads && self.origin.had_no_room_for(&word) {
                    continue;
                }
                assert_eq!(told, taken && reads, "device {n}, of which rights are {reads}");
            }
        }
    }

    /// Everybody may write again: what was kept back only for want of the right goes in, and what the origin has refused does not.
    fn restore_rights(&mut self) {
        for device in &self.devices {
            self.origin.change_rights(INSTITUTE, rights::teacher(device.user()));
        }
        self.settle();
    }

    fn check(&self) {
        for sheet in &self.sheets {
            let most = self.limits.of(rights::kind_of(*sheet)).changes;
            assert!(self.origin.hashes(*sheet).len() as u64 <= most, "{sheet} has more than {most} changes");
            for n in 0..self.devices.len() {
                self.check_device(n, *sheet);
            }
            for (n, edge) in self.edges.iter().enumerate() {
                let (logged, truth) = (edge.logged(*sheet), self.origin.hashes(*sheet));
                let extra: Vec<_> = logged.difference(&truth).collect();
                assert!(extra.is_empty(), "edge {n} keeps of {sheet} what the origin has not: {extra:?}");
            }
        }
    }

    fn check_device(&self, n: usize, sheet: DocumentId) {
        let device = &self.devices[n];
        let access = self.origin.access(sheet, device.user());
        let truth = self.origin.hashes(sheet);
        let (mut own, mut doomed) = (BTreeSet::new(), BTreeSet::new());
        for change in device.changes(sheet) {
            let hash = change.hash();
            own.insert(hash);
            // What depends on a refused change waits with it.
            let waits = change.deps().iter().any(|dep| doomed.contains(dep));
            let full = self.edges.iter().any(|edge| edge.had_no_room_for(sheet, &hash));
            let no_bringer = self.has_no_bringer(sheet, &hash);
            if !truth.contains(&hash) && (waits || full || no_bringer || self.origin.was_refused(&hash)) {
                doomed.insert(hash);
            }
        }
        let extra: Vec<_> = own.difference(&truth).filter(|hash| !doomed.contains(*hash)).collect();
        match access {
            Access::Write => {
                assert!(extra.is_empty(), "device {n} has of {sheet} what nobody refused: {extra:?}")
            }
            Access::Read | Access::None => {
                let others: Vec<_> = extra.into_iter().filter(|hash| !device.has_written(hash)).collect();
                assert!(others.is_empty(), "device {n} got of {sheet} what the origin has not: {others:?}");
            }
        }
        let told = device.acknowledged(sheet);
        let lost: Vec<_> = told.difference(&truth).filter(|hash| !self.is_doomed(hash, &doomed)).collect();
        assert!(lost.is_empty(), "changes acknowledged to device {n} are lost: {lost:?}");
        if access > Access::None {
            let lacks: Vec<_> = truth.difference(&own).collect();
            assert!(lacks.is_empty(), "device {n} lacks of {sheet} {lacks:?}");
            let waits: Vec<_> = truth.difference(&told).collect();
            assert!(waits.is_empty(), "device {n} waits for ever for the acknowledgement of {waits:?}");
            let committed: Vec<_> = device.committed(sheet).into_iter().collect();
            assert_eq!(
                committed,
                self.origin.heads(sheet),
                "device {n} does not know what the origin has committed"
            );
        }
    }

    /// Everybody who is connected knows what the others have, of documents that he reads and that they have just written. Who had no
    /// right when he said what he has, and has nothing to say since, is not heard of.
    fn check_remote_heads(&self) {
        let connected = || self.devices.iter().enumerate().filter(|(_, device)| device.is_connected());
        for (n, device) in connected() {
            for (m, other) in connected().filter(|(m, _)| *m != n) {
                for sheet in &self.sheets {
                    let access = |device: &Device| self.origin.access(*sheet, device.user());
                    if access(device) > Access::None && access(other) == Access::Write {
                        let told = device.remote_heads(other.storage(), *sheet);
                        assert_eq!(
                            told,
                            other.heads(*sheet),
                            "device {n} does not know what {m} has of {sheet}"
                        );
                    }
                }
            }
        }
    }

    /// Whoever has migrated a sheet, and beside what: it has been migrated once, and no remark is hidden. Gives the remarks.
    fn check_versions(&self) -> usize {
        let sheets = self.sheets.iter().filter(|sheet| rights::kind_of(**sheet) == Kind::Attendance);
        let remarks = sheets.map(|sheet| {
            let doc = self.origin.document(*sheet);
            let maps = doc.get_all(ROOT, "remarks").unwrap().len();
            let version = versions::version(doc, *sheet).unwrap();
            assert_eq!(
                (maps, doc.get_all(ROOT, versions::VERSION).unwrap().len()),
                (version as usize - 1, 1)
            );
            kind::attendance_remarks(doc, *sheet).len()
        });
        remarks.sum()
    }

    /// A change that was acknowledged before the phone was lost, and refused afterwards, is known to the origin alone.
    fn is_doomed(&self, hash: &ChangeHash, doomed: &BTreeSet<ChangeHash>) -> bool {
        doomed.contains(hash) || self.origin.was_refused(hash)
    }
}

/// What a run has come to.
#[derive(Default)]
struct Outcome {
    changes: usize,
    remarks: usize,
    /// Changes that an edge had no room for, and those that it had taken and the origin had none for.
    full_at_edges: usize,
    full_at_origin: usize,
}

impl std::iter::Sum for Outcome {
    fn sum<I: Iterator<Item = Self>>(outcomes: I) -> Self {
        outcomes.fold(Self::default(), |sum, next| Self {
            changes: sum.changes + next.changes,
            remarks: sum.remarks + next.remarks,
            full_at_edges: sum.full_at_edges + next.full_at_edges,
            full_at_origin: sum.full_at_origin + next.full_at_origin,
        })
    }
}

fn simulate(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    world.check();
    world.last_words();
    world.check();
    world.check_remote_heads();
    world.restore_rights();
    world.check();
    Outcome {
        changes: world.sheets.iter().map(|sheet| world.origin.hashes(*sheet).len()).sum(),
        remarks: world.check_versions(),
        full_at_edges: world.edges.iter().map(Edge::changes_without_room).sum(),
        full_at_origin: world.origin.changes_without_room(),
    }
}

/// Runs a seed; when it fails, says how to run it again.
fn replayable(seed: u64) -> Outcome {
    std::panic::catch_unwind(|| simulate(seed)).unwrap_or_else(|panic| {
        eprintln!("replay: SIMULATION_SEED={seed} cargo test -p sync-protocol --test simulation");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn replicas_converge_and_nothing_acknowledged_is_lost() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(DEFAULT_SEEDS),
    };
    let all = &seeds;
    let part = move |worker: u64| {
        let seeds = all.clone().skip(worker as usize).step_by(WORKERS as usize);
        seeds.map(replayable).sum::<Outcome>()
    };
    let outcome: Outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || part(worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    // Runs in which nobody gets to write would pass every check. A single one may be that unlucky.
    let runs = seeds.end - seeds.start;
    let Outcome { changes, remarks, full_at_edges, full_at_origin } = outcome;
    assert!(runs == 1 || changes as u64 > 10 * runs, "only {changes} changes were made in {runs} runs");
    let full = full_at_edges as u64 > runs / 10 && full_at_origin as u64 > runs / 25;
    assert!(
        runs < 100 || full,
        "no room: {full_at_edges} times at edges, {full_at_origin} times at the origin"
    );
    assert!(runs == 1 || remarks as u64 > 2 * runs, "only {remarks} remarks were made in {runs} runs");
}
