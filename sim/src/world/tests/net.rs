//! The network and its faults.

use trilith_engine::runtime::{
    Handle as _, Listener as _, Net as _, NetErrorKind, NetResult, Stream as _, StreamRead as _,
    StreamWrite as _, Task as _,
};

use super::*;
use crate::{
    fault::FaultKind,
    os::{SimReader, SimStream},
    world::{NodeId, address},
};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const PORT: u16 = 7000;

async fn read_all(reader: &mut SimReader) -> (Vec<u8>, NetResult<()>) {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return (all, Ok(())),
            Ok(len) => all.extend_from_slice(&buffer[..len]),
            Err(error) => return (all, Err(error)),
        }
    }
}

async fn write_all(
    stream: &mut impl trilith_engine::runtime::StreamWrite,
    bytes: &[u8],
) -> NetResult<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = stream.write(rest).await?;
        rest = &rest[len..];
    }
    Ok(())
}

async fn dial(rt: &SimRuntime, to: NodeId, within: Duration) -> NetResult<SimStream> {
    rt.net().connect(address(to, PORT), in_time(rt, within)).await
}

/// Node B sends back whatever it reads; node A is idle.
fn echo(seed: u64, options: WorldOptions) -> World {
    let mut world = World::new(seed, options);
    world.add_idle("a");
    let b = world.add("b", NodeOptions::default(), |rt| async move {
        let mut listener = rt.net().listen(address(rt.node(), PORT)).await.expect("a free port");
        while let Ok((mut stream, _)) = listener.accept().await {
            let serve = async move {
                let mut buffer = [0; 512];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    if write_all(&mut stream, &buffer[..len]).await.is_err() {
                        return;
                    }
                }
                drop(stream.shutdown().await);
            };
            rt.task().spawn("serve", serve).detach();
        }
    });
    world.start(b);
    world
}

/// Sends and reads back; answers what came and the true milliseconds it took.
fn ping(world: &mut World, bytes: usize, at_most: Duration) -> Option<(NetResult<()>, u64)> {
    world.run_on(A, at_most, move |rt| async move {
        let begin = rt.true_time_ns();
        let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let done = async {
            let (mut reader, mut writer) = dial(&rt, B, secs(5)).await?.split();
            let expect = sent.clone();
            let read = rt.task().spawn("reads", async move {
                let (all, end) = read_all(&mut reader).await;
                assert!(end.is_err() || all == expect, "in order or an error");
            });
            write_all(&mut writer, &sent).await?;
            writer.shutdown().await?;
            read.join().await;
            Ok(())
        };
        (done.await, (rt.true_time_ns() - begin) / 1_000_000)
    })
}

#[test]
fn bytes_travel_in_order() {
    for seed in 0..20 {
        let mut world = echo(seed, WorldOptions::default());
        world.set_net(|net| (net.partial_per_million, net.loss_per_million) = (300_000, 20_000));
        let (done, _) = ping(&mut world, 300_000, secs(600)).expect("it ends");
        assert_eq!(done, Ok(()));
        assert!(world.panics().is_empty(), "{:?}", world.panics());
        for probe in ["net.partial_read", "net.partial_write", "net.loss", "net.back_pressure"] {
            assert!(world.probe(probe) > 0, "{probe}");
        }
        world.run_for(secs(1));
        assert_eq!(world.holds().connections, 0, "nothing leaks");
    }
}

#[test]
fn connecting_to_nobody_is_refused_or_hangs() {
    let connect = |world: &mut World, to: std::net::SocketAddr| {
        let done = world.run_on(A, secs(60), move |rt| async move {
            let begin = rt.true_time_ns();
            let error = rt.net().connect(to, in_time(&rt, secs(4))).await.err();
            (error.map(|error| error.kind), (rt.true_time_ns() - begin) / 1_000_000)
        });
        done.expect("it ends by its deadline")
    };
    let mut world = echo(1, WorldOptions::default());
    let (there, nobody) = (address(B, PORT), address(B, 9));
    assert_eq!(connect(&mut world, there).0, None);
    assert!(matches!(connect(&mut world, nobody), (Some(NetErrorKind::Refused), 0..50)));
    assert_eq!(connect(&mut world, address(NodeId(77), 9)), (Some(NetErrorKind::TimedOut), 4_000));
    world.kill(B);
    assert!(matches!(connect(&mut world, there), (Some(NetErrorKind::Refused), 0..50)));
    world.start(B);
    world.run_for(ms(10));
    assert_eq!(connect(&mut world, there).0, None);
    world.pause(B);
    assert_eq!(connect(&mut world, there).0, None, "its kernel answers");
    world.resume(B);
    world.power_loss(B);
    assert_eq!(connect(&mut world, there), (Some(NetErrorKind::TimedOut), 4_000));
    assert_eq!(connect(&mut world, nobody), (Some(NetErrorKind::TimedOut), 4_000));
    world.start(B);
    world.run_for(ms(10));
    for (from, to) in [(A, B), (B, A)] {
        world.cut(from, to);
        assert_eq!(connect(&mut world, there), (Some(NetErrorKind::TimedOut), 4_000));
        world.heal(from, to);
    }
    assert_eq!(connect(&mut world, there).0, None);
    world.run_for(secs(60));
    assert_eq!(world.holds().connections, 0);
}

#[test]
fn a_connect_outlives_a_cut_that_heals() {
    let mut world = echo(1, WorldOptions::default());
    world.strike(&FaultKind::Cut { from: 0, to: 1, for_ms: 1_500 });
    let (done, took) = ping(&mut world, 10, secs(60)).expect("it ends");
    assert_eq!(done, Ok(()));
    assert!((1_500..5_000).contains(&took), "{took}");
    assert!(world.probe("net.connect_hangs") > 0);
}

#[test]
fn addresses_are_checked_and_freed() {
    let mut world = echo(1, WorldOptions::default());
    let kinds = world.run_on(A, secs(1), |rt| async move {
        let own = address(A, PORT);
        let taken = rt.net().listen(own).await.expect("it is free");
        let again = rt.net().listen(own).await.err().map(|error| error.kind);
        drop(taken);
        let freed = rt.net().listen(own).await.is_ok();
        let foreign = rt.net().listen(address(B, PORT)).await.err().map(|error| error.kind);
        let any = rt.net().listen(address(A, 0)).await.map(|listener| listener.local().port());
        (again, freed, foreign, any.expect("there is a free port") > 0)
    });
    let expect =
        (Some(NetErrorKind::AddressInUse), true, Some(NetErrorKind::AddressUnavailable), true);
    assert_eq!(kinds, Some(expect));
}

/// A connects and then reads; answers how its read ended and when, in true milliseconds.
fn reads_until(world: &mut World, at_most: Duration) -> Log<(NetResult<()>, u64)> {
    let log = Log::new();
    let into = log.clone();
    world.run_on(A, ms(100), move |rt| async move {
        let stream = dial(&rt, B, secs(1)).await.expect("B listens");
        let (mut reader, writer) = stream.split();
        let mine = rt.clone();
        let read = async move {
            let (_, end) = read_all(&mut reader).await;
            into.add((end, mine.true_time_ns() / 1_000_000));
            drop(writer);
        };
        rt.task().spawn("reads", read).detach();
    });
    world.run_for(at_most);
    log
}

#[test]
fn a_killed_peer_resets_and_one_without_power_is_silent() {
    let mut world = echo(1, WorldOptions::default());
    let log = reads_until(&mut world, ms(100));
    world.kill(B);
    world.run_for(ms(100));
    assert_eq!(log.all()[0].0.clone().map_err(|error| error.kind), Err(NetErrorKind::Reset));

    let mut world = echo(1, WorldOptions::default());
    let log = reads_until(&mut world, ms(100));
    world.power_loss(B);
    world.run_for(secs(3600));
    assert_eq!(log.all().len(), 0, "half open");
    world.start(B);
    world.run_for(secs(3600));
    assert_eq!(log.all().len(), 0, "who does not speak does not learn");
}

#[test]
fn who_speaks_to_a_machine_that_came_back_is_reset() {
    let mut world = echo(1, WorldOptions::default());
    let log = Log::new();
    let into = log.clone();
    world.run_on(A, ms(100), move |rt| async move {
        let (mut reader, mut writer) = dial(&rt, B, secs(1)).await.expect("B listens").split();
        let mine = rt.clone();
        let (read, wrote) = (into.clone(), into);
        let reads = async move { read.add(("read", read_all(&mut reader).await.1.is_err())) };
        let writes = async move {
            loop {
                nap(&mine, secs(1)).await;
                if write_all(&mut writer, &[7; 1000]).await.is_err() {
                    return wrote.add(("write", true));
                }
            }
        };
        rt.task().spawn("reads", reads).detach();
        rt.task().spawn("writes", writes).detach();
    });
    world.power_loss(B);
    world.run_for(secs(600));
    assert_eq!(log.all(), [], "its writer fills the window and waits");
    assert!(world.probe("net.half_open") > 0 && world.probe("net.back_pressure") > 0);
    world.start(B);
    world.run_for(secs(30));
    assert_eq!(log.all().len(), 2);
    assert!(log.all().contains(&("read", true)) && log.all().contains(&("write", true)));
}

#[test]
fn a_death_does_not_cross_a_cut() {
    for (from, to) in [(B, A), (A, B)] {
        let mut world = echo(1, WorldOptions::default());
        let log = reads_until(&mut world, ms(100));
        world.cut(from, to);
        world.kill(B);
        world.run_for(secs(100));
        if from == B {
            assert_eq!(log.all().len(), 0, "the reset was lost");
            assert!(world.probe("net.reset_lost") > 0);
            world.heal(from, to);
            world.run_for(secs(100));
            assert_eq!(log.all().len(), 0, "and is not sent again");
        } else {
            assert_eq!(log.all().len(), 1, "the other direction carries");
        }
    }
}

#[test]
fn cuts_delay_bytes_and_holds_too() {
    type Do = fn(&mut World);
    let cases: [(Do, Do, u64); 4] = [
        (|w| w.cut(A, B), |w| w.heal(A, B), 25_000),
        (|w| w.cut(B, A), |w| w.heal(B, A), 25_000),
        (|w| w.hold(A, B), |w| w.release(A, B), 25_000),
        (|w| w.strike(&FaultKind::Partition { side: vec![0], for_ms: 10_000 }), |_| (), 25_000),
    ];
    for (case, (begin, end, most)) in cases.into_iter().enumerate() {
        let mut world = echo(3, WorldOptions::default());
        let log = Log::new();
        let into = log.clone();
        world.run_on(A, ms(100), move |rt| async move {
            let mut stream = dial(&rt, B, secs(1)).await.expect("B listens");
            let mine = rt.clone();
            let talk = async move {
                nap(&mine, ms(200)).await;
                let begin = mine.true_time_ns();
                write_all(&mut stream, b"ping").await.expect("it is taken");
                let mut buffer = [0; 4];
                let mut got = 0;
                while got < 4 {
                    got += stream.read(&mut buffer[got..]).await.expect("nothing is lost");
                }
                into.add((mine.true_time_ns() - begin) / 1_000_000);
            };
            rt.task().spawn("talks", talk).detach();
        });
        begin(&mut world);
        world.run_for(secs(10));
        assert!(log.all().is_empty());
        end(&mut world);
        world.run_for(secs(40));
        let took = log.all()[0];
        assert!((9_000..most).contains(&took), "{case} {took}");
    }
}

#[test]
fn shapes_of_partitions_cut_what_they_say() {
    let reach = |fault: FaultKind| {
        let mut world = idle(1, 5);
        world.strike(&fault);
        let mut pairs = Vec::new();
        for from in 0..5 {
            for to in (0..5).filter(|to| *to != from) {
                if world.shared.lock().wire.links.blocked(from, to).is_some() {
                    pairs.push((from, to));
                }
            }
        }
        world.run_for(secs(2));
        assert!((0..5).all(|from| {
            (0..5).all(|to| world.shared.lock().wire.links.blocked(from, to).is_none())
        }));
        pairs
    };
    let for_ms = 1000;
    assert_eq!(reach(FaultKind::Cut { from: 1, to: 3, for_ms }), [(1, 3)]);
    assert_eq!(reach(FaultKind::Isolate { node: 2, for_ms }).len(), 8);
    assert_eq!(reach(FaultKind::Partition { side: vec![0, 1], for_ms }).len(), 12);
    let bridge = reach(FaultKind::Bridge { node: 4, for_ms });
    assert_eq!(bridge, [(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2)]);
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    let mut world = idle(1, 2);
    let log = Log::new();
    let into = log.clone();
    world.run_on(B, ms(1), |rt| async move {
        let mut listener = rt.net().listen(address(B, PORT)).await.expect("a free port");
        let mine = rt.clone();
        let reads = async move {
            let (mut stream, _) = listener.accept().await.expect("A connects");
            nap(&mine, secs(5)).await;
            let mut buffer = vec![0; 1 << 20];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        };
        rt.task().spawn("reads late", reads).detach();
    });
    world.run_on(A, secs(1), move |rt| async move {
        let mut stream = dial(&rt, B, secs(1)).await.expect("B listens");
        let writes = async move {
            loop {
                let Ok(len) = stream.write(&[1; 10_000]).await else { return };
                into.add(len);
            }
        };
        rt.task().spawn("writes", writes).detach();
    });
    let taken = |log: &Log<usize>| log.all().into_iter().sum::<usize>();
    world.run_for(secs(3));
    assert_eq!(taken(&log), 64 << 10, "the window");
    world.run_for(secs(3));
    assert!(taken(&log) > 1 << 20);
    world.pause(B);
    world.run_for(secs(1));
    let before = taken(&log);
    world.run_for(secs(10));
    assert_eq!(taken(&log), before, "a held process does not read");
}

#[test]
fn bits_flip_only_when_asked() {
    let flipped = |per_million| {
        let options = WorldOptions::default();
        let mut world = echo(2, options);
        world.set_net(|net| net.flip_per_million = per_million);
        ping(&mut world, 50_000, secs(60));
        (world.probe("net.bit_flip"), world.panics().len())
    };
    assert_eq!(flipped(0), (0, 0));
    let (flips, panics) = flipped(1_000_000);
    assert!(flips > 10 && panics == 1, "{flips} {panics}");
}

#[test]
fn weather_slows_and_narrows() {
    let took = |fault: Option<FaultKind>| {
        let mut world = echo(2, WorldOptions::default());
        world.run_for(ms(10));
        fault.iter().for_each(|fault| world.strike(fault));
        ping(&mut world, 50_000, secs(600)).expect("it ends").1
    };
    let (from, to, for_ms) = (0, 1, 1_000_000);
    let plain = took(None);
    assert!(plain < 50, "{plain}");
    let slow = took(Some(FaultKind::Slow { from, to, extra_us: 300_000, for_ms }));
    assert!((300..2_000).contains(&slow), "{slow}");
    let narrow = took(Some(FaultKind::Throttle { from, to, bytes_per_second: 10_000, for_ms }));
    assert!((5_000..6_000).contains(&narrow), "{narrow}");
    let lossy = took(Some(FaultKind::Loss { from, to, per_million: 500_000, for_ms }));
    assert!(lossy > 200, "{lossy}");
}

#[test]
fn what_waits_for_a_narrow_link_passes_when_it_is_wide_again() {
    let narrow = FaultKind::Throttle { from: 0, to: 1, bytes_per_second: 1_000, for_ms: 500 };
    let mut world = echo(2, WorldOptions::default());
    world.run_for(ms(10));
    world.strike(&narrow);
    let took = ping(&mut world, 50_000, secs(600)).expect("it ends").1;
    assert!((490..700).contains(&took), "50 kB would be under way for 50 s: {took} ms");
    // Everything ends at once: the same.
    let mut world = echo(2, WorldOptions::default());
    world.run_for(ms(10));
    world.strike(&narrow);
    world.calm();
    let took = ping(&mut world, 50_000, secs(600)).expect("it ends").1;
    assert!(took < 50, "{took} ms");
}

#[test]
fn a_reset_between_two_nodes_ends_their_connections() {
    let mut world = echo(1, WorldOptions::default());
    let log = reads_until(&mut world, ms(100));
    world.strike(&FaultKind::Reset { one: 1, other: 0 });
    world.run_for(ms(1));
    assert_eq!(log.all()[0].0.clone().map_err(|error| error.kind), Err(NetErrorKind::Reset));
    world.run_for(ms(10));
    assert_eq!(world.holds().connections, 0);
}

#[test]
fn a_node_reaches_itself_whatever_is_cut() {
    let mut world = echo(1, WorldOptions::default());
    world.strike(&FaultKind::Isolate { node: 1, for_ms: 100_000 });
    let done = world.run_on(B, secs(5), |rt| async move {
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], PORT));
        let own = rt.net().connect(to, in_time(&rt, secs(1))).await.map(drop);
        (own.is_err(), dial(&rt, B, secs(1)).await.is_ok())
    });
    assert_eq!(done, Some((true, true)), "B listens at its address, not at the loopback");
}
