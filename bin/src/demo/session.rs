//! A cluster, who talks to it, and what is done to it.
//!
//! Not here: what lines mean (`prompt.rs`), how a node is killed or cut off (`host.rs`).

use std::{
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};
use trilith_engine::raft::Role;
use trilith_net::{node::NodeOptions, resp::heard::Heard};

use super::{
    directory,
    door::Door,
    host::{Host, State},
    prompt::{self, Chaos, Line, Which},
    seen::Notes,
};
use crate::{
    asker::{Asker, as_json},
    failure::{Failure, Outcome, UNANSWERED},
    out::{Cell, Out},
};

/// An election and a slow disk.
const LEADS_WITHIN: Duration = Duration::from_secs(20);
/// The same for whoever names the leader while there is none: he means the next one.
const NEXT_LEADS_WITHIN: Duration = Duration::from_secs(5);
/// How often nodes are looked at while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The ways in for others, and where they are.
pub(super) struct Doors {
    pub(super) resp: Option<(SocketAddr, Door)>,
    pub(super) http: Option<(SocketAddr, Door)>,
}

/// A cluster and who talks to it.
pub(super) struct Session {
    hosts: Vec<Host>,
    asker: Asker,
    doors: Doors,
    notes: Notes,
    out: Out,
}

impl Session {
    /// Starts all nodes, and waits until one of them leads.
    pub(super) fn start(
        nodes: Vec<NodeOptions>,
        dir: &Path,
        doors: Doors,
        out: Out,
    ) -> Outcome<Self> {
        let notes = Notes::default();
        let within = nodes.iter().map(|options| options.guests_within).max().unwrap_or_default();
        let hosts = nodes.into_iter().map(|options| {
            let data = directory(dir, options.node);
            Host::start(options, data, notes.clone())
        });
        let hosts = hosts.collect::<Outcome<Vec<_>>>()?;
        let session = Self { hosts, asker: Asker::new(within), doors, notes, out };
        if session.leader_within(LEADS_WITHIN).is_none() {
            let cause = format!("no node leads after {} s", LEADS_WITHIN.as_secs());
            return Err(Failure::new(&UNANSWERED, cause, "trilith --log info demo tells more"));
        }
        session.tell_the_doors();
        Ok(session)
    }

    fn tell_the_doors(&self) {
        if let Some((_, door)) = &self.doors.resp {
            door.leads_to(self.reachable());
        }
        if let Some((_, door)) = &self.doors.http {
            door.leads_to(self.those_reachable().map(|host| host.http).collect());
        }
    }

    /// The first words.
    pub(super) fn introduce(&self) -> Outcome {
        self.status()?;
        let Some(first) = self.hosts.first() else { return Ok(()) };
        let place = |door: &Option<(SocketAddr, Door)>| door.as_ref().map(|(at, _)| *at);
        let resp = place(&self.doors.resp).unwrap_or(first.resp);
        let http = place(&self.doors.http).unwrap_or(first.http);
        let (ip, port) = (resp.ip(), resp.port());
        self.out.say(&format!("\nnext: redis-cli -h {ip} -p {port} set hello world"))?;
        self.out.say(&format!("      curl http://{http}/v1/kv/default/hello"))?;
        self.out.say("or type it here, and then: chaos kill leader; see help")?;
        match &self.doors.resp {
            Some(_) => self.out.say(&format!("(port {port} leads to any node that runs)")),
            None => self.out.say("(the usual port is taken: this is a node's own)"),
        }
    }

    /// Does what a line says. Whether it was the last one.
    pub(super) fn take(&mut self, line: &str) -> Outcome<bool> {
        for host in &mut self.hosts {
            if let Some(failure) = host.trouble() {
                self.out.say(&format!("node {} has ended by itself: {failure}", host.number))?;
            }
        }
        self.tell_the_doors();
        match prompt::read(line) {
            Line::Nothing => {}
            Line::Quit => return Ok(true),
            Line::Help => self.out.say(prompt::HELP)?,
            Line::Status => self.status()?,
            Line::Chaos(chaos, which) => self.chaos(chaos, which)?,
            Line::Explain(question) => self.explain(question)?,
            Line::Ask(None, question) => {
                let heard = self.asker.ask(&self.reachable(), question);
                self.answer(question, &heard)?;
            }
            Line::Ask(Some(which), question) => match self.these(which).first() {
                Some(at) => {
                    let heard = self.asker.ask_that(self.hosts[*at].resp, question);
                    self.answer(question, &heard)?;
                }
                None => self.out.say(nobody(which))?,
            },
            Line::Unclear(why) => self.out.say(why)?,
        }
        Ok(false)
    }

    fn answer(&self, question: &str, heard: &Heard) -> Outcome {
        if self.out.is_json() {
            return self.out.facts(&[("ask", question.into()), ("answer", as_json(heard))]);
        }
        self.out.say(&heard.to_string())
    }

    /// Where somebody may be asked: of nodes that run, and of nobody else as long as there are any.
    fn reachable(&self) -> Vec<SocketAddr> {
        self.those_reachable().map(|host| host.resp).collect()
    }

    fn those_reachable(&self) -> impl Iterator<Item = &Host> {
        let is_running = self.hosts.iter().any(|host| host.state == State::Runs);
        let wanted = if is_running { State::Runs } else { State::Cut };
        self.hosts.iter().filter(move |host| host.state == wanted)
    }

    /// The node that leads by the newest term, as far as can be seen. One that is cut off or stands
    /// still may believe it for a while.
    fn leader(&self) -> Option<usize> {
        let seen = self.hosts.iter().enumerate().filter(|(_, host)| host.state == State::Runs);
        let seen = seen.map(|(at, host)| (host.seen.glance(), at));
        let leading = seen.filter(|(glance, _)| glance.role == Some(Role::Leader));
        leading.max_by_key(|(glance, _)| glance.term).map(|(_, at)| at)
    }

    /// The same, waited for: after a leader is gone the next one needs a moment.
    fn leader_within(&self, time: Duration) -> Option<usize> {
        let until = Instant::now() + time;
        loop {
            let leader = self.leader();
            if leader.is_some() || Instant::now() > until {
                return leader;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn these(&self, which: Which) -> Vec<usize> {
        match which {
            Which::All => (0..self.hosts.len()).collect(),
            Which::Leader => self.leader_within(NEXT_LEADS_WITHIN).into_iter().collect(),
            Which::Node(node) => {
                let at = self.hosts.iter().position(|host| host.number == node);
                at.into_iter().collect()
            }
        }
    }

    fn chaos(&mut self, chaos: Chaos, which: Which) -> Outcome {
        let (these, leader) = (self.these(which), self.leader());
        if these.is_empty() {
            return self.out.say(nobody(which));
        }
        for at in these {
            let host = &mut self.hosts[at];
            let before = host.state;
            match chaos {
                Chaos::Kill => host.kill(),
                Chaos::Pause => host.pause(),
                Chaos::Partition => host.cut(),
                Chaos::Heal => {
                    // Somebody has its port, or its disk is full: the others go on.
                    if let Err(failure) = host.heal() {
                        let number = host.number;
                        self.out.say(&format!("node {number} could not be healed: {failure}"))?;
                        continue;
                    }
                }
            }
            let led = if leader == Some(at) && host.state != State::Runs { "; it led" } else { "" };
            let (number, now) = (host.number, host.state.name());
            if host.state != before {
                self.out.say(&format!("node {number} {now}{led}"))?;
            } else if which != Which::All {
                self.out.say(&format!("node {number} {now}, as before"))?;
            }
        }
        self.tell_the_doors();
        let count = self.hosts.len();
        let run = self.hosts.iter().filter(|host| host.state == State::Runs).count();
        let means = match run {
            run if run == count => "all of them".to_owned(),
            run if run > count / 2 => "a majority, and that is enough".to_owned(),
            _ => "too few: nothing is answered as done until more of them are healed".to_owned(),
        };
        self.out.say(&format!("{run} of {count} nodes run: {means}"))
    }

    /// How the nodes are.
    fn status(&self) -> Outcome {
        let rows = self.hosts.iter().map(|host| {
            let glance = host.seen.glance();
            let role = match glance.role {
                None => Cell::Absent,
                Some(Role::Leader) => "leader".into(),
                Some(Role::Follower(_)) => "follower".into(),
                Some(Role::PreCandidate | Role::Candidate) => "candidate".into(),
            };
            vec![
                host.number.into(),
                host.state.name().into(),
                role,
                glance.term.into(),
                glance.commit.into(),
                host.resp.to_string().into(),
                host.http.to_string().into(),
                host.peers.to_string().into(),
            ]
        });
        let columns = ["node", "state", "role", "term", "committed", "redis", "http", "peers"];
        self.out.table(&columns, &rows.collect::<Vec<_>>())
    }

    /// Asks, and tells what the nodes said to each other until the answer came.
    fn explain(&mut self, question: &str) -> Outcome {
        let nodes = self.reachable();
        let asked = self.asker.prefers(&nodes);
        let number =
            self.hosts.iter().find(|host| Some(host.resp) == asked).map(|host| host.number);
        let cell = number.map_or(Cell::Absent, Cell::from);
        let micros = |time: Duration| Cell::Number(time.as_micros() as u64);
        self.notes.begin();
        let began = Instant::now();
        let heard = self.asker.ask(&nodes, question).to_string();
        let took = began.elapsed();
        let mut rows =
            vec![vec![0_u64.into(), cell.clone(), format!("is asked: {question}").into()]];
        for note in self.notes.end().into_iter().filter(|note| note.after <= took) {
            rows.push(vec![micros(note.after), note.node.into(), note.what.into()]);
        }
        rows.push(vec![micros(took), cell, format!("has answered: {heard}").into()]);
        self.out.table(&["us", "node", "what"], &rows)
    }
}

const fn nobody(which: Which) -> &'static str {
    match which {
        Which::Leader => "no node leads; see status",
        Which::Node(_) | Which::All => "there is no such node; see status",
    }
}
