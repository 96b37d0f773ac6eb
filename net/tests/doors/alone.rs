//! A node of a cluster of one over the real doors, in a thread of its own.
//!
//! Not here: what it is asked, and how it answers (`resp.rs`, `http.rs`, `text.rs`, `users.rs`).

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use trilith_engine::{
    runtime::{Clock, Runtime, race},
    types::NodeId,
};
use trilith_net::{
    node::{Cluster, Node, NodeOptions, Remote},
    os::run_core,
    users::Users,
};

/// Such a node, until it is dropped.
pub(crate) struct Alone {
    /// Where it serves Redis clients, HTTP clients.
    pub(crate) resp: SocketAddr,
    pub(crate) http: SocketAddr,
    /// And of the text protocol.
    pub(crate) text: SocketAddr,
    remote: Remote,
    directory: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Alone {
    pub(crate) fn start() -> Self {
        Self::guarded(Users::default())
    }

    /// One that only these may ask.
    pub(crate) fn guarded(users: Users) -> Self {
        Self::of(users, 1)
    }

    /// One over so many groups.
    pub(crate) fn split(groups: u16) -> Self {
        Self::of(Users::default(), groups)
    }

    fn of(users: Users, groups: u16) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("trilith-alone-{}-{nth}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (ends, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (home, over) = (directory.clone(), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            run_core(&home, async |os| {
                let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let cluster = Cluster::new("alone", vec![(NodeId(1), anywhere)], groups);
                let cluster = cluster.unwrap();
                let (resp, http, text) = (Some(anywhere), Some(anywhere), Some(anywhere));
                let usual = NodeOptions::new(NodeId(1), cluster);
                let options = NodeOptions { resp, http, text, users, ..usual };
                let node = Node::start(&os, options, ()).await.unwrap();
                let doors = [node.serves_resp(), node.serves_http(), node.serves_text()];
                tell.send((doors.map(Option::unwrap), node.remote())).unwrap();
                let until_then = async {
                    while !over.load(Ordering::Relaxed) {
                        let soon = os.clock().now() + Duration::from_millis(10);
                        os.clock().sleep_until(soon).await;
                    }
                };
                let _ended = race(node.run(), until_then).await;
            })
            .unwrap();
        });
        let ([resp, http, text], remote) = told.recv().unwrap();
        Self { resp, http, text, remote, directory, ends, thread: Some(thread) }
    }

    /// Ends it in order, and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        let (home, remote) = (self.directory.join("remote"), self.remote.clone());
        fs::create_dir_all(&home).unwrap();
        run_core(&home, async |_os| remote.stop().await).unwrap();
        self.join();
    }

    fn join(&mut self) {
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.join();
        let _gone = fs::remove_dir_all(&self.directory);
    }
}

/// What has come, as soon as something has. A signal is no end of it: a machine that is held for a
/// moment interrupts whoever reads with a deadline.
pub(crate) fn read_some(from: &mut impl io::Read, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
