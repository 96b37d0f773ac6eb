//! The sentences of [`Net`], [`Listener`] and the two halves of a stream.

use alloc::{vec, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{
    super::{
        Clock, Listener, Net, NetErrorKind, NetResult, Runtime, Stream, StreamRead, StreamWrite,
        timeout,
    },
    Broken, Outcome, Report, both, demand, poll_once, sleep,
};

/// Checks the runtime's network, on one node that talks to itself at `host`.
pub async fn net<R: Runtime>(rt: &R, host: IpAddr) -> Report {
    let mut report = Report::default();
    report.check(rt, "port 0 picks a free one", free_port(rt, host)).await;
    report.check(rt, "an address is listened on once", in_use(rt, host)).await;
    report.check(rt, "accept says who it is", accept(rt, host)).await;
    report.check(rt, "connecting to nobody fails within the deadline", nobody(rt, host)).await;
    report.check(rt, "a dropped listener stops listening", stop_listening(rt, host)).await;
    report.check(rt, "bytes arrive in order, both ways", in_order(rt, host)).await;
    report.check(rt, "connections do not mix", apart(rt, host)).await;
    report.check(rt, "after shutdown comes the end, and not before", shut(rt, host)).await;
    report.check(rt, "one side may end while the other goes on", half_closed(rt, host)).await;
    report.check(rt, "a stream is used whole or in halves", whole(rt, host)).await;
    report.check(rt, "a dropped read loses nothing", dropped_read(rt, host)).await;
    report.check(rt, "a read waits while nothing comes", read_waits(rt, host)).await;
    report.check(rt, "a writer waits for a reader that does not read", pressure(rt, host)).await;
    report.check(rt, "writing to one who left fails in the end", left(rt, host)).await;
    report
}

/// Checks that a runtime without a network says so.
pub async fn no_net<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "a runtime without a network says so", unsupported(rt)).await;
    report
}

type Pair<R> = (<<R as Runtime>::Net as Net>::Stream, <<R as Runtime>::Net as Net>::Stream);

/// A connection: the connecting and the accepting end.
async fn connect<R: Runtime>(rt: &R, host: IpAddr) -> Result<Pair<R>, Broken> {
    let mut listener = rt.net().listen(SocketAddr::new(host, 0)).await?;
    let deadline = rt.clock().now() + Duration::from_secs(10);
    let to = listener.local();
    let (near, far) = both(rt.net().connect(to, deadline), listener.accept()).await;
    let (far, _) = far?;
    Ok((near?, far))
}

async fn write_all<W: StreamWrite>(writer: &mut W, mut bytes: &[u8]) -> NetResult<()> {
    while !bytes.is_empty() {
        let taken = writer.write(bytes).await?;
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// Reads until the other side ends.
async fn read_all<S: StreamRead>(reader: &mut S, piece: usize) -> NetResult<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    // 251 is prime, so no piece of a power of two looks like its neighbour.
    (0..len).map(|index| ((index + seed) % 251) as u8).collect()
}

async fn free_port<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let first = rt.net().listen(SocketAddr::new(host, 0)).await?;
    let second = rt.net().listen(SocketAddr::new(host, 0)).await?;
    let (one, two) = (first.local(), second.local());
    demand!(one.port() != 0 && two.port() != 0, "it listens on port 0");
    demand!(one != two, "both listen on {one}");
    demand!(one.ip() == host, "asked for {host}, got {one}");
    Ok(())
}

async fn in_use<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let first = rt.net().listen(SocketAddr::new(host, 0)).await?;
    match rt.net().listen(first.local()).await {
        Err(error) if error.kind == NetErrorKind::AddressInUse => Ok(()),
        Err(error) => Err(Broken(alloc::format!("refused, but with: {error}"))),
        Ok(_) => Err(Broken("two listen on one address".into())),
    }
}

async fn accept<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let mut listener = rt.net().listen(SocketAddr::new(host, 0)).await?;
    let deadline = rt.clock().now() + Duration::from_secs(10);
    let to = listener.local();
    for _ in 0..3 {
        let (near, far) = both(rt.net().connect(to, deadline), listener.accept()).await;
        near?;
        let (_, who) = far?;
        demand!(who.ip() == host && who.port() != 0, "it says {who}");
    }
    demand!(listener.local() == to, "the listener has moved");
    Ok(())
}

/// An address of this node where nobody listens.
async fn empty_address<R: Runtime>(rt: &R, host: IpAddr) -> Result<SocketAddr, Broken> {
    let listener = rt.net().listen(SocketAddr::new(host, 0)).await?;
    Ok(listener.local())
}

async fn nobody<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let to = empty_address(rt, host).await?;
    let deadline = rt.clock().now() + Duration::from_secs(2);
    let Err(error) = rt.net().connect(to, deadline).await else {
        return Err(Broken("somebody answered".into()));
    };
    let kind = error.kind;
    let expected = matches!(kind, NetErrorKind::Refused | NetErrorKind::TimedOut);
    demand!(expected, "the error is {kind:?}");
    let late = rt.clock().now().since(deadline);
    demand!(late < Duration::from_secs(2), "it came {late:?} after the deadline");
    Ok(())
}

async fn stop_listening<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let at = empty_address(rt, host).await?;
    let deadline = rt.clock().now() + Duration::from_secs(2);
    demand!(rt.net().connect(at, deadline).await.is_err(), "it still accepts");
    let again = rt.net().listen(at).await?;
    demand!(again.local() == at, "the address is not free again");
    Ok(())
}

async fn in_order<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.split(), far.split());
    let (there, back) = (pattern(700_001, 0), pattern(300_007, 17));
    let near_side = both(
        async {
            write_all(&mut near_out, &there).await?;
            near_out.shutdown().await
        },
        read_all(&mut near_in, 1_000),
    );
    let far_side = both(
        async {
            write_all(&mut far_out, &back).await?;
            far_out.shutdown().await
        },
        read_all(&mut far_in, 65_536),
    );
    let ((near_sent, near_got), (far_sent, far_got)) = both(near_side, far_side).await;
    near_sent?;
    far_sent?;
    demand!(far_got? == there, "what was sent there is not what came");
    demand!(near_got? == back, "what was sent back is not what came");
    Ok(())
}

async fn apart<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let mut listener = rt.net().listen(SocketAddr::new(host, 0)).await?;
    let deadline = rt.clock().now() + Duration::from_secs(10);
    let to = listener.local();
    let mut ends = Vec::new();
    for index in 0..4_u8 {
        let (near, far) = both(rt.net().connect(to, deadline), listener.accept()).await;
        ends.push((index, near?, far?.0));
    }
    for (index, near, far) in ends {
        let (_near_in, mut near_out) = near.split();
        let (mut far_in, _far_out) = far.split();
        write_all(&mut near_out, &[index; 10]).await?;
        near_out.shutdown().await?;
        let got = read_all(&mut far_in, 100).await?;
        demand!(got == [index; 10], "connection {index} got {got:?}");
    }
    Ok(())
}

async fn shut<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((_near_in, mut near_out), (mut far_in, _far_out)) = (near.split(), far.split());
    write_all(&mut near_out, b"the last words").await?;
    near_out.shutdown().await?;
    let got = read_all(&mut far_in, 5).await?;
    demand!(got == b"the last words", "got {got:?}");
    let mut buffer = [0; 8];
    demand!(far_in.read(&mut buffer).await? == 0, "after the end came more");
    Ok(())
}

async fn half_closed<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.split(), far.split());
    near_out.shutdown().await?;
    demand!(read_all(&mut far_in, 5).await?.is_empty(), "something came");
    write_all(&mut far_out, b"still here").await?;
    far_out.shutdown().await?;
    let got = read_all(&mut near_in, 64).await?;
    demand!(got == b"still here", "got {got:?}");
    Ok(())
}

async fn whole<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (mut near, mut far) = connect(rt, host).await?;
    write_all(&mut near, b"question").await?;
    near.shutdown().await?;
    let got = read_all(&mut far, 3).await?;
    demand!(got == b"question", "got {got:?}");
    write_all(&mut far, b"answer").await?;
    far.shutdown().await?;
    let got = read_all(&mut near, 64).await?;
    demand!(got == b"answer", "got {got:?}");
    Ok(())
}

async fn dropped_read<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((_near_in, mut near_out), (mut far_in, _far_out)) = (near.split(), far.split());
    let bytes = pattern(20_000, 3);
    let send = async {
        for piece in bytes.chunks(777) {
            write_all(&mut near_out, piece).await?;
            sleep(rt, 1).await;
        }
        near_out.shutdown().await
    };
    let receive = async {
        let mut all = Vec::new();
        let mut buffer = [0; 500];
        loop {
            // Most of these are dropped while they wait.
            let done = poll_once(far_in.read(&mut buffer)).await;
            match done {
                None => sleep(rt, 1).await,
                Some(Ok(0)) => return Ok(all),
                Some(Ok(count)) => all.extend_from_slice(&buffer[..count]),
                Some(Err(error)) => return Err(error),
            }
        }
    };
    let (sent, got) = both(send, receive).await;
    sent?;
    demand!(got? == bytes, "what came is not what was sent");
    Ok(())
}

async fn read_waits<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((_near_in, mut near_out), (mut far_in, _far_out)) = (near.split(), far.split());
    let mut buffer = [0; 8];
    let deadline = rt.clock().now() + Duration::from_millis(50);
    let nothing = timeout(rt.clock(), deadline, far_in.read(&mut buffer)).await;
    demand!(nothing.is_err(), "a read of nothing was answered");
    write_all(&mut near_out, b"late").await?;
    let count = far_in.read(&mut buffer).await?;
    demand!(b"late".starts_with(&buffer[..count]) && count > 0, "got {:?}", &buffer[..count]);
    Ok(())
}

/// No sane pair of socket buffers holds as much.
const TOO_MUCH: usize = 64 << 20;

async fn pressure<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let ((_near_in, mut near_out), (mut far_in, _far_out)) = (near.split(), far.split());
    let piece = pattern(251 * 512, 0);
    let mut sent = 0;
    loop {
        let deadline = rt.clock().now() + Duration::from_millis(300);
        let from = sent % piece.len();
        match timeout(rt.clock(), deadline, near_out.write(&piece[from..])).await {
            Err(_waits) => break,
            Ok(taken) => sent += taken?,
        }
        demand!(sent < TOO_MUCH, "{sent} bytes were taken, and nobody reads");
    }
    let finish = async {
        near_out.shutdown().await?;
        Ok::<_, Broken>(())
    };
    let (finished, got) = both(finish, read_all(&mut far_in, 65_536)).await;
    finished?;
    let got = got?;
    // The write that was dropped may have taken some.
    let most = sent + piece.len();
    demand!((sent..=most).contains(&got.len()), "sent {sent} bytes, {} came", got.len());
    demand!(got.chunks(piece.len()).all(|part| piece.starts_with(part)), "other bytes came");
    Ok(())
}

async fn left<R: Runtime>(rt: &R, host: IpAddr) -> Outcome {
    let (near, far) = connect(rt, host).await?;
    let (_near_in, mut near_out) = near.split();
    drop(far);
    for _ in 0..1_000 {
        let deadline = rt.clock().now() + Duration::from_secs(5);
        let taken = timeout(rt.clock(), deadline, near_out.write(&[0; 4096])).await;
        match taken {
            Err(_waits) => return Err(Broken("the writer waits for one who left".into())),
            Ok(Err(_)) => return Ok(()),
            Ok(Ok(_)) => sleep(rt, 5).await,
        }
    }
    Err(Broken("a thousand writes to one who left were taken".into()))
}

async fn unsupported<R: Runtime>(rt: &R) -> Outcome {
    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listened = rt.net().listen(at).await.err().map(|error| error.kind);
    demand!(listened == Some(NetErrorKind::Unsupported), "listen answered {listened:?}");
    let deadline = rt.clock().now() + Duration::from_millis(10);
    let connected = rt.net().connect(at, deadline).await.err().map(|error| error.kind);
    demand!(connected == Some(NetErrorKind::Unsupported), "connect answered {connected:?}");
    Ok(())
}
