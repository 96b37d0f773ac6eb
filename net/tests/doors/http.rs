//! HTTP clients: what its connections may hold together.
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::alone::{Alone, read_some};

/// Asks, and reads no more of the answer than its status.
fn ask(node: &Alone, head: &str, body: &[u8]) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("{head} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
}

/// The whole answer to a request without a body.
fn get(node: &Alone, target: &str) -> String {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

/// What a sample of a text of metrics says, a whole number.
#[track_caller]
fn sample(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("there is no {name} in\n{text}"));
    line.split('.').next().and_then(|whole| whole.parse().ok()).unwrap()
}

#[test]
fn what_is_done_is_measured() {
    let node = Alone::start();
    // A group of one leads when its first entry is on the disk.
    assert_eq!(ask(&node, "PUT /v1/kv/default/first", b"1").0, "200");
    let before = get(&node, "/metrics");
    assert!(before.starts_with("HTTP/1.1 200 "), "{before}");
    assert!(before.contains("content-type: text/plain; version=0.0.4"), "{before}");
    let mut redis = TcpStream::connect(node.resp).unwrap();
    redis.write_all(b"SET a 1\r\nGET a\r\nINCR first\r\nGET\r\nSUBSCRIBE news\r\n").unwrap();
    let (mut told, mut piece) = (String::new(), [0; 4096]);
    while !told.contains("subscribe") {
        let read = read_some(&mut redis, &mut piece).unwrap();
        assert!(read > 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    let atomic = r#"{"atomic": true, "ops": [{"op": "put", "key": "t", "value": "1"}]}"#;
    assert_eq!(ask(&node, "POST /v1/batch", atomic.as_bytes()).0, "200");
    assert_eq!(ask(&node, "GET /v1/kv/default/nothing", b"").0, "404");
    assert_eq!(ask(&node, "GET /v1/kv/default", b"").0, "200");
    let after = get(&node, "/metrics");
    let rose = |name: &str| sample(&after, name) - sample(&before, name);
    for (name, by) in [
        (r#"trilith_shard_requests_total{family="write",outcome="ok"}"#, 2),
        (r#"trilith_shard_requests_total{family="transaction",outcome="ok"}"#, 1),
        (r#"trilith_shard_requests_total{family="scan",outcome="ok"}"#, 1),
        (r#"trilith_shard_request_duration_seconds_count{family="write"}"#, 2),
        ("trilith_raft_entries_proposed_total", 3),
        ("trilith_raft_entries_applied_total", 3),
        ("trilith_raft_entries_committed_total", 3),
        ("trilith_resp_commands_total", 5),
        ("trilith_resp_errors_total", 1),
        (r#"trilith_port_connections_accepted_total{port="resp"}"#, 1),
        (r#"trilith_http_answers_total{class="4xx"}"#, 1),
        // And the page before this one.
        (r#"trilith_http_answers_total{class="2xx"}"#, 3),
        ("trilith_store_keys", 2),
    ] {
        assert_eq!(rose(name), by, "{name}\n{after}");
    }
    for name in [
        "trilith_core_turns_total",
        r#"trilith_shard_requests_total{family="read",outcome="ok"}"#,
        "trilith_journal_frames_total",
        "trilith_journal_records_total",
        "trilith_journal_written_bytes_total",
        "trilith_journal_sync_duration_seconds_count",
        "trilith_journal_write_duration_seconds_count",
        "trilith_resp_duration_seconds_count",
        "trilith_http_duration_seconds_count",
        r#"trilith_port_read_bytes_total{port="resp"}"#,
        r#"trilith_port_written_bytes_total{port="http"}"#,
    ] {
        assert!(rose(name) > 0, "{name}\n{after}");
    }
    for (name, is) in [
        (r#"trilith_raft_groups{role="leader"}"#, 1),
        (r#"trilith_raft_groups{role="leaderless"}"#, 0),
        ("trilith_raft_leaderships_total", 1),
        ("trilith_core_look_age_seconds", 0),
        (r#"trilith_port_connections{port="resp"}"#, 1),
        ("trilith_pubsub_subscribers", 1),
        ("trilith_disk_full", 0),
    ] {
        assert_eq!(sample(&after, name), is, "{name}\n{after}");
    }
    for name in
        ["trilith_disk_free_bytes", "trilith_journal_files_bytes", "trilith_store_index_bytes"]
    {
        assert!(sample(&after, name) > 0, "{name}\n{after}");
    }
}

/// They asked for large values and did not read them: each held all it was answered, and only what
/// was asked with GET was counted.
#[test]
fn batches_that_nobody_reads_share_the_room_of_all() {
    let node = Alone::start();
    let value = vec![b'x'; 8 << 20];
    assert_eq!(ask(&node, "PUT /v1/kv/default/a", &value).0, "200");
    let get = r#"{"op": "get", "key": "a"}"#;
    let batch = format!(r#"{{"ops": [{get}, {get}, {get}]}}"#);
    let mut waiting = Vec::new();
    for nth in 0..18 {
        let (status, stream) = ask(&node, "POST /v1/batch", batch.as_bytes());
        waiting.push(stream);
        if status == "503" {
            assert!(nth > 10, "{nth}");
            let put = r#"{"op": "put", "key": "b", "value": "1"}"#;
            let mixed = format!(r#"{{"ops": [{put}, {get}, {get}]}}"#);
            let (status, mut stream) = ask(&node, "POST /v1/batch", mixed.as_bytes());
            assert_eq!(status, "200", "what was done is told in any case");
            let (mut told, mut piece) = (String::new(), [0; 4096]);
            while !told.contains("]}") {
                let read = read_some(&mut stream, &mut piece).unwrap();
                assert!(read > 0, "{}", told.len());
                told.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            assert!(told.contains("OVERLOADED"), "{} bytes", told.len());
            return;
        }
        assert_eq!(status, "200");
    }
    panic!("{} connections hold more than all may", waiting.len());
}

/// A target may name the server, and what is told of an answer says where its time went.
#[test]
fn an_answer_says_where_its_time_went() {
    let node = Alone::start();
    let (status, _) = ask(&node, "PUT /v1/kv/default/a", b"1");
    assert_eq!(status, "200");
    let told = get(&node, &format!("http://{}/v1/kv/default/a", node.http));
    let line = told.lines().find(|line| line.starts_with("server-timing: "));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    let names: Vec<&str> = line["server-timing: ".len()..]
        .split(", ")
        .filter_map(|one| one.split_once(";dur="))
        .filter(|(_, ms)| ms.parse::<f64>().is_ok())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["queue", "persist", "replicate", "apply"]);
    let foreign = get(&node, "http://elsewhere.example/v1/kv/default/a");
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
}

/// An answer, taken apart.
struct Told {
    status: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn told(node: &Alone, (method, target, body): (&str, &str, &str)) -> Told {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (method, more) = method.split_once('\n').unwrap_or((method, ""));
    let more = more.replace('\n', "\r\n");
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{more}\r\n{body}").as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, is)| (name.into(), is.into()));
    Told { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
}

/// What the description says of programs' answers.
struct Described(Value);

impl Described {
    /// Something, or what it refers to.
    fn at<'a>(&'a self, it: &'a Value) -> &'a Value {
        match it["$ref"].as_str() {
            Some(path) => self.0.pointer(path.trim_start_matches('#')).unwrap(),
            None => it,
        }
    }

    /// What does not fit a schema.
    fn misfit(&self, is: &Value, schema: &Value) -> Option<String> {
        let schema = self.at(schema);
        if let Some(ways) = schema["anyOf"].as_array() {
            let fits = ways.iter().any(|way| self.misfit(is, way).is_none());
            return (!fits).then(|| format!("{is} fits nothing of {schema}"));
        }
        if let Some(ways) = schema["oneOf"].as_array() {
            let fits = ways.iter().filter(|way| self.misfit(is, way).is_none()).count();
            return (fits != 1).then(|| format!("{is} fits {fits} of {schema}"));
        }
        let is_of_type = match schema["type"].as_str() {
            Some("object") => is.is_object(),
            Some("array") => is.is_array(),
            Some("string") => is.is_string(),
            Some("integer") => is.is_i64() || is.is_u64(),
            _ => false,
        };
        let among = schema["enum"].as_array().is_none_or(|all| all.contains(is));
        if !is_of_type || !among {
            return Some(format!("{is} is no {schema}"));
        }
        let needed = schema["required"].as_array().into_iter().flatten();
        let lacks = needed.filter_map(Value::as_str).find(|name| is.get(name).is_none());
        if let Some(lacks) = lacks {
            return Some(format!("{is} has no {lacks}"));
        }
        let mut items = is.as_array().into_iter().flatten();
        let items = items.find_map(|item| self.misfit(item, &schema["items"]));
        let field = |(name, field): (&String, &Value)| match schema["properties"].get(name) {
            Some(schema) => self.misfit(field, schema),
            None if schema.get("properties").is_none() => None,
            None => Some(format!("{name} is nowhere in {schema}")),
        };
        items.or_else(|| is.as_object().into_iter().flatten().find_map(field))
    }

    #[track_caller]
    fn fits(&self, (method, path): (&str, &str), told: &Told) {
        let all = &self.0["paths"][path][method.to_lowercase()]["responses"];
        let said = all.get(&told.status).unwrap_or(&all["default"]);
        let said = self.at(said);
        let of_ours =
            |name: &str| name.starts_with("trilith-") || ["etag", "server-timing"].contains(&name);
        for (name, _) in told.headers.iter().filter(|(name, _)| of_ours(name)) {
            let is_told = said["headers"].get(name).is_some();
            assert!(is_told, "{method} {path} {}: {name} is not described", told.status);
        }
        if told.body.is_empty() {
            return;
        }
        let kind = told.headers.iter().find(|(name, _)| name == "content-type").unwrap();
        let kind = kind.1.split(';').next().unwrap();
        let content = &said["content"][kind];
        assert!(content.is_object(), "{method} {path} {}: {kind} is not described", told.status);
        if kind.ends_with("json") {
            let body: Value = serde_json::from_str(&told.body).unwrap();
            let misfit = self.misfit(&body, &content["schema"]);
            assert_eq!(misfit, None, "{method} {path} {}", told.status);
        }
    }
}

/// What is answered to each kind of request is what the description for programs says: status,
/// headers, kinds and fields.
#[test]
fn what_is_answered_is_described() {
    let node = Alone::start();
    let described = told(&node, ("GET", "/v1/openapi.json", ""));
    let described = Described(serde_json::from_str(&described.body).unwrap());
    let (keys, key) = ("/v1/kv/{keyspace}", "/v1/kv/{keyspace}/{key}");
    let batch = "/v1/batch";
    let of_a = "/v1/kv/default/a";
    let steps = r#"[{"op":"get","key":"a"},{"op":"put","key":"b","value":"1"},{"op":"increment","key":"b"},{"op":"get","key":"no"},{"op":"increment","key":"a","by":2}]"#;
    let apart = format!(r#"{{"ops":{steps}}}"#);
    let together = r#"{"atomic":true,"ops":[{"op":"increment","key":"b"},{"op":"put","key":"b2","value":"1"}]}"#;
    let unmet = r#"{"atomic":true,"ops":[{"op":"check","key":"b","if_present":false},{"op":"put","key":"b2","value":"1"}]}"#;
    let asked = [
        ("GET", "/livez", "/livez", "", "200"),
        ("GET", "/readyz", "/readyz?verbose", "", "200"),
        ("GET", "/readyz", "/readyz?verbose&verbose", "", "400"),
        ("GET", "/metrics", "/metrics", "", "200"),
        ("GET", "/v1/status", "/v1/status", "", "200"),
        ("GET", "/v1/openapi.json", "/v1/openapi.json", "", "200"),
        ("PUT\ntrilith-ttl-ms: 100000\n", key, of_a, "x", "200"),
        ("PUT\nif-none-match: *\n", key, of_a, "x", "412"),
        ("GET", key, of_a, "", "200"),
        ("GET\naccept: application/json\n", key, of_a, "", "200"),
        ("GET\nif-none-match: *\n", key, of_a, "", "304"),
        ("GET", key, "/v1/kv/default/nothing", "", "404"),
        ("GET", key, "/v1/kv/default/a?consistency=most", "", "400"),
        ("GET", keys, "/v1/kv/default?values&limit=1", "", "200"),
        ("GET", keys, "/v1/kv/default?limit=0", "", "400"),
        ("POST", batch, batch, &apart, "200"),
        ("POST", batch, batch, together, "200"),
        ("POST", batch, batch, unmet, "409"),
        ("POST", batch, batch, "{", "400"),
        ("DELETE\nif-match: \"7777\"\n", key, of_a, "", "412"),
        ("DELETE", key, of_a, "", "200"),
        ("DELETE", key, of_a, "", "404"),
    ];
    for (method, path, target, body, status) in asked {
        let told = told(&node, (method, target, body));
        assert_eq!(told.status, status, "{method} {target}: {}", told.body);
        let method = method.split('\n').next().unwrap();
        described.fits((method, path), &told);
    }
}
