//! Every byte of the room's formats: worked examples, round trips, and garbage.
//!
//! Garbage is judged by one law: what a decoder takes, the encoder makes again, byte for byte.

use super::*;
use crate::{
    codec,
    journal::{Record, format::FormatError},
    limits::{KEY_BYTES_MAX, TRANSACTION_WRITES_MAX, VALUE_BYTES_MAX_CLUSTER},
    types::{GroupId, Index, NodeId, Term, Uuid, Version},
};
use ::bytes::{Bytes, BytesMut};
use core::ops::Bound;
use proptest::{collection::vec, option, prelude::*, sample::Index as At};
use std::{format, string::String, vec::Vec};

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn entry_of(place: Place, body: &Body) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out, place, body);
    out.freeze()
}

fn request_of(request: &Request) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

fn response_of(response: &Response) -> Bytes {
    let mut out = BytesMut::new();
    response.encode(&mut out);
    out.freeze()
}

/// What is in the log of a body at a stamp: a SET's time is no longer relative.
fn logged(body: Body, stamp: Stamp) -> Body {
    let settled = |expiry: Expiry| match expiry.from(stamp) {
        Expiry::At(ms) => Expiry::At(ms.max(1)),
        other => other,
    };
    let Body::Command(session, command) = body else { return body };
    let command = match command {
        Command::Set { key, value, expiry, condition, want_old } => {
            Command::Set { key, value, expiry: settled(expiry), condition, want_old }
        }
        Command::Transaction(transaction) => {
            let settle = |write: &Write| match write.clone() {
                Write::Set { key, value, expiry } => {
                    Write::Set { key, value, expiry: settled(expiry) }
                }
                other => other,
            };
            let writes = transaction.writes().iter().map(settle).collect();
            Command::Transaction(Transaction::new(transaction.checks().to_vec(), writes).unwrap())
        }
        other => other,
    };
    let session = if session.is_kept() { session } else { Session::NOBODY };
    Body::Command(session, command)
}

/// The same entry with bytes of its own.
fn owned(body: Body<&[u8]>) -> Body {
    match body {
        Body::Noop => Body::Noop,
        Body::Leave => Body::Leave,
        Body::Change(change) => Body::Change(Bytes::copy_from_slice(change)),
        Body::Command(session, command) => {
            Body::Command(session, command.map(Bytes::copy_from_slice))
        }
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..6).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::None),
        any::<u64>().prop_map(Expiry::At),
        any::<u64>().prop_map(Expiry::After),
        Just(Expiry::Keep),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    any::<u64>().prop_map(Version)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Absent),
        Just(Condition::Present),
        version().prop_map(Condition::Version),
    ]
}

fn only() -> impl Strategy<Value = Only> {
    prop_oneof![
        Just(Only::Always),
        Just(Only::Without),
        Just(Only::With),
        Just(Only::Later),
        Just(Only::Earlier),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (key(), value(), expiry()).prop_map(|(key, value, expiry)| Write::Set {
            key,
            value,
            expiry
        }),
        key().prop_map(|key| Write::Delete { key }),
        (key(), any::<i64>()).prop_map(|(key, by)| Write::Increment { key, by }),
    ]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let check = (key(), option::of(version())).prop_map(|(key, version)| Check { key, version });
    (vec(check, 0..4), vec(write(), 0..6)).prop_map(|(checks, mut writes)| {
        writes.sort_by(|one, other| one.key().cmp(other.key()));
        writes.dedup_by(|one, other| one.key() == other.key());
        Transaction::new(checks, writes).unwrap()
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (key(), value(), expiry(), condition(), any::<bool>()).prop_map(
            |(key, value, expiry, condition, want_old)| Command::Set {
                key,
                value,
                expiry,
                condition,
                want_old
            }
        ),
        (key(), condition(), any::<bool>())
            .prop_map(|(key, condition, want_old)| Command::Delete { key, condition, want_old }),
        (key(), any::<i64>()).prop_map(|(key, by)| Command::Increment { key, by }),
        (key(), value()).prop_map(|(key, value)| Command::Append { key, value }),
        (key(), expiry(), only()).prop_map(|(key, expiry, only)| Command::Expire {
            key,
            expiry,
            only
        }),
        transaction().prop_map(Command::Transaction),
        Just(Command::Clock),
        Just(Command::CloseSession),
    ]
}

fn session() -> impl Strategy<Value = Session> {
    (0..3_u64, 0..1_u64 << 40, 0..100_u64, any::<u64>()).prop_map(
        |(client, sequence, behind, at)| Session {
            client: ClientId(client),
            sequence: Sequence(sequence),
            oldest: Sequence(sequence.saturating_sub(behind)),
            since: Stamp(at),
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::Noop),
        1 => Just(Body::Leave),
        1 => value().prop_map(Body::Change),
        8 => (session(), command()).prop_map(|(session, command)| Body::Command(session, command)),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(group, term, index, at)| {
        Place { group: GroupId(group), term: Term(term), index: Index(index), stamp: Stamp(at) }
    })
}

fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid)
}

fn cut() -> impl Strategy<Value = Cut> {
    let page = (any::<u32>(), any::<u64>(), option::of(key()), any::<u32>(), any::<u32>());
    prop_oneof![
        any::<u32>().prop_map(|group| Cut::Open(GroupId(group))),
        page.prop_map(|(group, cut, behind, keys_max, bytes_max)| Cut::Page {
            group: GroupId(group),
            cut,
            behind,
            keys_max,
            bytes_max
        }),
        (any::<u32>(), any::<u64>())
            .prop_map(|(group, cut)| Cut::Close { group: GroupId(group), cut }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let scan = (any::<u32>(), bound(), bound(), any::<u32>(), any::<u32>(), any::<bool>());
    let op = prop_oneof![
        key().prop_map(Op::Get),
        vec(key(), 0..5).prop_map(Op::GetMany),
        vec(key(), 0..5).prop_map(Op::Look),
        any::<u32>().prop_map(|group| Op::Count(GroupId(group))),
        cut().prop_map(Op::Cut),
        scan.prop_map(|(group, start, end, keys_max, bytes_max, has_values)| {
            Op::Scan(Scan { group: GroupId(group), start, end, keys_max, bytes_max, has_values })
        }),
        command().prop_map(Op::Write),
        (any::<u64>(), option::of(uuid())).prop_map(|(node, directory)| {
            Op::Replace(Replace { node: NodeId(node), directory })
        }),
    ];
    let level = prop_oneof![Just(Level::Eventual), Just(Level::Quorum), Just(Level::Strong)];
    (session(), level, any::<u32>(), any::<u32>(), op).prop_map(
        |(session, level, patience_ms, staleness_ms, op)| Request {
            session,
            level,
            patience_ms,
            staleness_ms,
            op,
        },
    )
}

fn found() -> impl Strategy<Value = Found> {
    (version(), option::of(any::<u64>()), value()).prop_map(|(version, expires_ms, value)| Found {
        version,
        expires_ms,
        value,
    })
}

fn replacing() -> impl Strategy<Value = Replacing> {
    let shown = (uuid(), any::<bool>());
    let shown = shown.prop_map(|(directory, is_known)| Shown { directory, is_known });
    let stage = prop_oneof![
        Just(Stage::Absent),
        Just(Stage::Learns),
        Just(Stage::Changes),
        Just(Stage::Settled)
    ];
    let led = (any::<u32>(), uuid(), stage);
    let led = led.prop_map(|(group, seat, stage)| Led { group: GroupId(group), seat, stage });
    (any::<u32>(), any::<bool>(), any::<bool>(), option::of(shown), vec(led, 0..4)).prop_map(
        |(groups, is_member, is_up, shown, led)| Replacing { groups, is_member, is_up, shown, led },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let old = prop_oneof![
        Just(Old::NotAsked),
        Just(Old::Absent),
        found().prop_map(Old::Found),
        Just(Old::NotKept)
    ];
    let old = old.boxed();
    let failure =
        prop_oneof![Just(Failure::NotAnInteger), Just(Failure::Overflow), Just(Failure::TooLong)];
    let asked = prop_oneof![
        (version(), old.clone()).prop_map(|(version, old)| Reply::Done { version, old }),
        (option::of(version()), old).prop_map(|(found, old)| Reply::Unmet { found, old }),
        (any::<i64>(), version()).prop_map(|(number, version)| Reply::Number { number, version }),
        (any::<u64>(), version()).prop_map(|(bytes, version)| Reply::Length { bytes, version }),
        (version(), vec(any::<i64>(), 0..4))
            .prop_map(|(version, numbers)| Reply::Committed { version, numbers }),
        (any::<u32>(), option::of(version()))
            .prop_map(|(check, found)| Reply::Conflict { check, found }),
        (failure, any::<u32>()).prop_map(|(failure, write)| Reply::Failed { failure, write }),
        option::of(found()).prop_map(Reply::Value),
        vec(option::of(found()), 0..4).prop_map(Reply::Values),
        (vec((key(), found()), 0..4), option::of(key()))
            .prop_map(|(items, next)| Reply::Page { items, next }),
    ];
    let count = any::<u64>().prop_map(Reply::Count);
    let opened = (any::<u64>(), any::<u64>());
    let cut = opened.prop_map(|(cut, keys)| Reply::Cut(Opened { cut, keys }));
    prop_oneof![10 => asked, 1 => replacing().prop_map(Reply::Replacing), 1 => count, 1 => cut]
}

const REFUSALS: &[Refusal] = &[
    Refusal::NoCut,
    Refusal::Malformed,
    Refusal::KeyTooLong,
    Refusal::ValueTooLong,
    Refusal::TooLarge,
    Refusal::KeyTwice,
    Refusal::ManyGroups,
    Refusal::Level,
    Refusal::NoGroup,
    Refusal::NotLeader(None),
    Refusal::NotLeader(Some(NodeId(7))),
    Refusal::Overloaded,
    Refusal::Stopping,
    Refusal::TooLate,
    Refusal::TooStale,
    Refusal::Damaged,
    Refusal::SessionsFull,
    Refusal::FromTheFuture,
    Refusal::Forgotten,
    Refusal::DiskFull,
];

fn response() -> impl Strategy<Value = Response> {
    let outcome = prop_oneof![
        4 => reply().prop_map(Outcome::Ok),
        1 => (0..REFUSALS.len()).prop_map(|at| Outcome::Refused(REFUSALS[at])),
        1 => Just(Outcome::Unknown),
    ];
    (0..1_u64 << 40, any::<u32>(), any::<u64>(), any::<u64>(), any::<[u32; 4]>(), outcome).prop_map(
        |(
            sequence,
            staleness_ms,
            applied,
            stamp,
            [queue_us, persist_us, replicate_us, apply_us],
            outcome,
        )| Response {
            sequence: Sequence(sequence),
            told: Told {
                level: Level::Quorum,
                staleness_ms,
                applied: Version(applied),
                stamp: Stamp(stamp),
                phases: Phases { queue_us, persist_us, replicate_us, apply_us },
            },
            outcome,
        },
    )
}

/// Bytes with a few of them changed, cut or added.
fn damaged(bytes: &Bytes, changes: &[(At, u8)], cut: &Option<At>) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (at, byte) in changes {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            // Small numbers mean something more often than others.
            bytes[at] = if *byte < 128 { *byte % 10 } else { *byte };
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    Bytes::from(bytes)
}

/// The law of garbage, for an entry whose records' checksums somebody has made right.
fn entry_is_lawful(bytes: &[u8]) {
    let _refused = Entry::decode(bytes);
    let Ok(entry) = Entry::parse(bytes) else { return };
    let again = entry_of(entry.place, &owned(entry.body.clone()));
    let mut records = bytes.to_vec();
    let mut at = 0;
    while at < records.len() {
        let (_, len) = Record::parse(&records[at..]).unwrap();
        let crc = codec::crc(0, &records[at + 4..at + len]);
        records[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at += len.next_multiple_of(8);
    }
    assert_eq!(again, records, "{entry:?}");
}

fn request_is_lawful(bytes: &Bytes) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request_of(&request), bytes, "{request:?}");
    }
}

fn response_is_lawful(bytes: &Bytes) {
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(response_of(&response), bytes, "{response:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_entry_is_read_as_it_was_written(place in place(), body in body(), next in body()) {
        let bytes = entry_of(place, &body);
        prop_assert_eq!(bytes.len(), encoded_bytes(&body));
        let entry = Entry::decode(&bytes).unwrap();
        prop_assert_eq!(&Entry::parse(&bytes).unwrap(), &entry);
        prop_assert_eq!(entry.place, place);
        prop_assert_eq!(entry.bytes(), &*bytes);
        let logged = logged(body, place.stamp);
        prop_assert_eq!(owned(entry.body.clone()), logged);
        let both = [&bytes[..], &entry_of(place, &next)].concat();
        let (first, rest) = Entry::first(&both).unwrap();
        prop_assert_eq!(&first, &entry);
        prop_assert_eq!(rest.len(), encoded_bytes(&next));
    }

    #[test]
    fn requests_and_responses_are_read_as_they_were_written(
        request in request(), response in response(),
    ) {
        prop_assert_eq!(&Request::decode(&request_of(&request)).unwrap(), &request);
        prop_assert_eq!(&Response::decode(&response_of(&response)).unwrap(), &response);
    }

    #[test]
    fn what_a_decoder_takes_its_encoder_has_made(
        place in place(), body in body(), request in request(), response in response(),
        changes in vec((any::<At>(), any::<u8>()), 0..3), cut in option::weighted(0.2, any::<At>()),
        noise in vec(any::<u8>(), 0..80),
    ) {
        entry_is_lawful(&damaged(&entry_of(place, &body), &changes, &cut));
        request_is_lawful(&damaged(&request_of(&request), &changes, &cut));
        response_is_lawful(&damaged(&response_of(&response), &changes, &cut));
        let noise = Bytes::from(noise);
        entry_is_lawful(&noise);
        request_is_lawful(&noise);
        response_is_lawful(&noise);
    }

    #[test]
    fn a_changed_byte_of_an_entry_is_noticed(place in place(), body in body(), at in any::<At>()) {
        let mut bytes = entry_of(place, &body).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 0x10;
        prop_assert!(Entry::decode(&bytes).is_err());
    }
}

fn hex(bytes: &[u8]) -> String {
    let words = bytes
        .chunks(8)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    words.collect::<Vec<String>>().join(" ")
}

const PLACE: Place =
    Place { group: GroupId(3), term: Term(2), index: Index(9), stamp: Stamp::at_ms(1000) };

const SESSION: Session = Session {
    client: ClientId(0xc1),
    sequence: Sequence(7),
    oldest: Sequence(5),
    since: Stamp(0x5e),
};

fn set(expiry: Expiry, condition: Condition) -> Command {
    Command::Set { key: text("key"), value: text("value"), expiry, condition, want_old: true }
}

#[test]
fn entries_have_these_bytes() {
    let check = |body: Body, expect: &str| assert_eq!(hex(&entry_of(PLACE, &body)), expect);
    check(
        Body::Noop,
        "ec6a689800000000 0000030203000000 0900000000000000 0200000000000000 \
         0a01000000e80300 0000000000000000",
    );
    check(
        Body::Command(SESSION, set(Expiry::After(500), Condition::Version(Version(4)))),
        "8ec937ac05000000 0300010303000000 0900000000000000 0200000000000000 \
         dc05000000000000 2e000f0000e80300 0000000400000000 000000c100000000 \
         0000000700000000 000000020000005e 000000000000006b 657976616c756500",
    );
    check(
        Body::Command(Session::NOBODY, Command::Increment { key: text("n"), by: -2 }),
        "01820cb20c000000 0000030203000000 0900000000000000 0200000000000000 \
         0a00000000e80300 00000003feffffff ffffffff01006e00",
    );
    let checks = [Check { key: text("a"), version: Some(Version(4)) }].to_vec();
    let writes = [
        Write::Set { key: text("a"), value: text("1"), expiry: Expiry::None },
        Write::Increment { key: text("n"), by: 1 },
        Write::Delete { key: text("b") },
    ];
    let transaction = Transaction::new(checks, writes.to_vec()).unwrap();
    check(
        Body::Command(Session::NOBODY, Command::Transaction(transaction)),
        "4ef2e5a223000000 0000030203000000 0900000000000000 0200000000000000 \
         0a00000000e80300 0000000801000000 0104000000000000 0001006103000000 \
         0903010000000000 000001006e090000 d280b6b201000000 0100010403000000 \
         0900000000000000 0200000000000000 6131000000000000 0d3b0a8800000000 \
         0100020403000000 0900000000000000 0200000000000000 6200000000000000",
    );
}

#[test]
fn requests_and_responses_have_these_bytes() {
    let op = Op::Write(set(Expiry::Keep, Condition::Absent));
    let request =
        Request { session: SESSION, level: Level::Strong, patience_ms: 1000, staleness_ms: 0, op };
    assert_eq!(
        hex(&request_of(&request)),
        "c100000000000000 0700000000000000 020000005e000000 0000000003e80300 \
         0000000000040105 0303006b65790500 000076616c7565"
    );
    let found = Found { version: Version(4), expires_ms: Some(1500), value: text("old") };
    let response = |outcome| Response {
        sequence: Sequence(7),
        told: Told {
            level: Level::Strong,
            staleness_ms: 0,
            applied: Version(9),
            stamp: Stamp(0x5f),
            phases: Phases { queue_us: 1, persist_us: 2, replicate_us: 3, apply_us: 4 },
        },
        outcome,
    };
    let done = Reply::Done { version: Version(9), old: Old::Found(found) };
    assert_eq!(
        hex(&response_of(&response(Outcome::Ok(done)))),
        "0700000000000000 0300000000090000 00000000005f0000 0000000000010000 \
         0002000000030000 0004000000000109 0000000000000002 0400000000000000 \
         01dc050000000000 00030000006f6c64"
    );
    let refused = Outcome::Refused(Refusal::NotLeader(Some(NodeId(2))));
    assert_eq!(
        hex(&response_of(&response(refused))),
        "0700000000000000 0300000000090000 00000000005f0000 0000000000010000 \
         0002000000030000 0004000000010901 0200000000000000"
    );
}

#[test]
fn the_replacement_of_a_node_has_these_bytes() {
    let directory = Uuid([0xd3; 16]);
    let op = Op::Replace(Replace { node: NodeId(3), directory: Some(directory) });
    let request =
        Request { session: SESSION, level: Level::Strong, patience_ms: 1000, staleness_ms: 0, op };
    assert_eq!(
        hex(&request_of(&request)),
        "c100000000000000 0700000000000000 020000005e000000 0000000003e80300 \
         0000000000050300 00000000000001d3 d3d3d3d3d3d3d3d3 d3d3d3d3d3d3d3"
    );
    let led = Led { group: GroupId(2), seat: directory, stage: Stage::Learns };
    let reply = Reply::Replacing(Replacing {
        groups: 4,
        is_member: true,
        is_up: false,
        shown: Some(Shown { directory, is_known: false }),
        led: [led].to_vec(),
    });
    let mut bytes = BytesMut::new();
    reply.put(&mut bytes);
    assert_eq!(
        hex(&bytes),
        "0b04000000010001 d3d3d3d3d3d3d3d3 d3d3d3d3d3d3d3d3 0001000000020000 \
         00d3d3d3d3d3d3d3 d3d3d3d3d3d3d3d3 d301"
    );
}

#[test]
fn reads_that_ask_no_disk_are_these_bytes() {
    let of = |op: Op| {
        let (session, level) = (Session::default(), Level::Quorum);
        let bytes = request_of(&Request { session, level, patience_ms: 0, staleness_ms: 0, op });
        hex(&bytes[28 + 1 + 8..])
    };
    assert_eq!(of(Op::Look([text("a"), text("bc")].to_vec())), "0602000000010061 02006263");
    assert_eq!(of(Op::Count(GroupId(3))), "0703000000");
    let scan = Scan { has_values: false, ..Scan::of_prefix(GroupId(3), &text("a"), 7, 9) };
    assert_eq!(of(Op::Scan(scan)), "0303000000070000 0009000000000101 006102010062");
    let group = GroupId(3);
    assert_eq!(of(Op::Cut(Cut::Open(group))), "080300000001");
    let page = |behind| Cut::Page { group, cut: 5, behind, keys_max: 7, bytes_max: 9 };
    assert_eq!(
        of(Op::Cut(page(Some(text("a"))))),
        "0803000000020500 0000000000000700 0000090000000101 0061"
    );
    assert_eq!(of(Op::Cut(page(None))), "0803000000020500 0000000000000700 00000900000000");
    assert_eq!(of(Op::Cut(Cut::Close { group, cut: 5 })), "0803000000030500 000000000000");
    let mut bytes = BytesMut::new();
    Reply::Cut(Opened { cut: 5, keys: 6 }).put(&mut bytes);
    assert_eq!(hex(&bytes), "0d05000000000000 0006000000000000 00");
    let mut bytes = BytesMut::new();
    Reply::Count(5).put(&mut bytes);
    assert_eq!(hex(&bytes), "0c05000000000000 00");
}

#[test]
fn every_refusal_has_a_name_and_an_advice_of_its_own() {
    let mut codes: Vec<&str> = REFUSALS.iter().map(|refusal| refusal.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), REFUSALS.len() - 1, "only the leader's node makes no difference");
    for refusal in REFUSALS {
        assert!(format!("{refusal}").contains(';'), "cause; advice: {refusal}");
    }
}

#[test]
fn what_breaks_a_limit_is_refused_and_named() {
    let long = Bytes::from(std::vec![0; KEY_BYTES_MAX + 1]);
    let huge = Bytes::from(std::vec![0; VALUE_BYTES_MAX_CLUSTER + 1]);
    let append = |key: Bytes, value: Bytes| Command::Append { key, value }.check();
    assert_eq!(append(text("k"), huge.slice(1..)), Ok(()));
    assert_eq!(append(long, text("v")), Err(Refusal::KeyTooLong));
    assert_eq!(append(text("k"), huge.clone()), Err(Refusal::ValueTooLong));
    let put = |key: &str, value: Bytes| Write::Set { key: text(key), value, expiry: Expiry::None };
    let both = [put("a", huge.slice(1..)), put("b", huge.slice(1..))].to_vec();
    let both = Transaction::new(Vec::new(), both).unwrap();
    assert_eq!(Command::Transaction(both).check(), Err(Refusal::TooLarge));
    let many = std::vec![put("a", text("v")); TRANSACTION_WRITES_MAX + 1];
    assert_eq!(Transaction::new(Vec::new(), many), Err(Refusal::TooLarge));
}

#[test]
fn a_transaction_writes_each_key_once() {
    let put = |value: &str| Write::Set { key: text("k"), value: text(value), expiry: Expiry::None };
    let delete = Write::Delete { key: text("k") };
    let add = Write::Increment { key: text("k"), by: 1 };
    let new = |writes: &[&Write]| {
        let writes = writes.iter().map(|write| (*write).clone()).collect();
        Transaction::new(Vec::new(), writes)
    };
    let folded = new(&[&put("1"), &delete, &put("2")]).unwrap();
    assert_eq!(folded.writes(), [put("2")]);
    assert_eq!(new(&[&put("1"), &delete]).unwrap().writes(), [delete]);
    assert_eq!(new(&[&put("1"), &add]), Err(Refusal::KeyTwice));
    assert_eq!(new(&[&add, &add]), Err(Refusal::KeyTwice));
}

#[test]
fn a_prefix_is_a_range() {
    let end = |prefix: &[u8]| {
        let prefix = Bytes::copy_from_slice(prefix);
        Scan::of_prefix(GroupId(1), &prefix, 1, 1).end
    };
    assert_eq!(end(b"ab"), Bound::Excluded(text("ac")));
    assert_eq!(end(&[b'a', 255, 255]), Bound::Excluded(text("b")));
    assert_eq!(end(&[255]), Bound::Unbounded);
    assert_eq!(end(b""), Bound::Unbounded);
}

#[test]
fn a_number_of_things_that_are_not_there_takes_no_memory() {
    let mut bytes = request_of(&Request {
        session: SESSION,
        level: Level::Strong,
        patience_ms: 0,
        staleness_ms: 0,
        op: Op::GetMany(Vec::new()),
    })
    .to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&1000_u32.to_le_bytes());
    assert_eq!(Request::decode(&Bytes::from(bytes)), Err(FormatError::Truncated));
}
