//! The node that both worlds are timed with: it connects to every other, sends each a beat of 64
//! bytes every 50 milliseconds, and reads what it is sent.
//!
//! Not here: the worlds it is timed in (`main.rs`).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use trilith_engine::runtime::{
    Clock as _, Handle as _, Listener as _, Net as _, Runtime, StreamRead as _, StreamWrite as _,
    Task as _,
};

/// How many nodes.
pub(crate) const NODES: u32 = 5;
const PORT: u16 = 7000;
const BEAT: Duration = Duration::from_millis(50);

fn address(node: u32) -> SocketAddr {
    trilith_sim::world::address(trilith_sim::world::NodeId(node), PORT)
}

async fn nap<R: Runtime>(rt: &R, time: Duration) {
    rt.clock().sleep_until(rt.clock().now() + time).await;
}

async fn link<R: Runtime>(rt: R, to: u32, beats: Arc<AtomicU64>) {
    loop {
        let deadline = rt.clock().now() + Duration::from_secs(1);
        let Ok(mut stream) = rt.net().connect(address(to), deadline).await else {
            nap(&rt, BEAT).await;
            continue;
        };
        while let Ok(64) = stream.write(&[7; 64]).await {
            beats.fetch_add(1, Ordering::Relaxed);
            nap(&rt, BEAT).await;
        }
    }
}

/// One life of one node.
pub(crate) async fn node<R: Runtime>(rt: R, own: u32, beats: Arc<AtomicU64>) {
    for to in (0..NODES).filter(|to| *to != own) {
        rt.task().spawn("link", link(rt.clone(), to, Arc::clone(&beats))).detach();
    }
    let Ok(mut listener) = rt.net().listen(address(own)).await else { return };
    while let Ok((mut stream, _)) = listener.accept().await {
        let reads = async move {
            let mut buffer = [0; 1024];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        };
        rt.task().spawn("reads", reads).detach();
    }
}
