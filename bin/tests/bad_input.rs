//! What people really do to a store: wrong directories, two processes, full disks, damaged files.
//! Each is a clear error with a code and a next step; nothing acknowledged is lost; no panic.
//!
//! Not here: damage while the store runs, and failing devices: the simulator plays those.

mod program;

use program::{Answer, Redis, Scratch, Server, addresses, run, trilith};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn reading_does_not_create_a_store() {
    let scratch = Scratch::new("reading_does_not_create_a_store");
    let dir = scratch.path("absent");
    for command in ["scan", "stats", "verify", "compact"] {
        run(&["kv", &dir, command]).failed(1, "TR-E101");
    }
    run(&["kv", &dir, "get", "a"]).failed(1, "TR-E101");
    assert!(!Path::new(&dir).exists(), "a reader made {dir}");
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let scratch = Scratch::new("a_foreign_directory_is_left_alone");
    fs::write(scratch.path("holiday.jpg"), b"not ours").expect("scratch can be written");
    run(&["kv", &scratch.path(""), "set", "a", "b"]).failed(1, "TR-E104");
    let names: BTreeSet<_> = fs::read_dir(&scratch.0)
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(names, BTreeSet::from(["holiday.jpg".into()]));
    run(&["kv", &scratch.path("holiday.jpg"), "set", "a", "b"]).failed(1, "TR-E101");
}

#[test]
fn inspecting_tells_foreign_from_damaged() {
    let scratch = Scratch::new("inspecting_tells_foreign_from_damaged");
    let (dir, other) = (scratch.path("data"), scratch.path("other"));
    fs::create_dir_all(format!("{other}/deep")).expect("scratch can be written");
    fs::write(format!("{other}/deep/NODE"), b"not ours").expect("scratch can be written");
    run(&["inspect", &other]).failed(1, "TR-E104");
    run(&["kv", &dir, "set", "a", "b"]).ok();
    run(&["inspect", &dir]).ok();
    // What makes opening refuse is seen by the command that opening names as the next.
    for name in ["NODE", "CURRENT"] {
        let file = format!("{dir}/{name}");
        let whole = fs::read(&file).expect("it was made");
        let mut newer = whole.clone();
        newer[8] ^= 1;
        for damaged in [newer.as_slice(), &[]] {
            fs::write(&file, damaged).expect("scratch can be written");
            let answer = run(&["kv", &dir, "get", "a"]);
            assert!(answer.err.contains("next: trilith inspect"), "{answer:?}");
            run(&["inspect", &dir]).failed(3, "TR-E303");
        }
        fs::write(&file, whole).expect("scratch can be written");
    }
    fs::remove_file(format!("{dir}/LOCK")).expect("it was made");
    std::os::unix::fs::symlink("nowhere", format!("{dir}/LOCK")).expect("scratch can be written");
    let answer = run(&["inspect", &dir]);
    assert!(answer.out.contains("unreadable") && answer.out.contains("NODE"), "{answer:?}");
}

/// What `inspect` says of a file: a line for each piece.
fn pieces(file: &str) -> Vec<serde_json::Value> {
    let shown = run(&["inspect", file, "-o", "json"]).out;
    shown.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn what_recovery_left_behind_is_not_damage() {
    let scratch = Scratch::new("what_recovery_left_behind_is_not_damage");
    let dir = scratch.path("data");
    run(&["kv", &dir, "set", "a", "b"]).ok();
    run(&["kv", &dir, "set", "c", "d"]).ok();
    let file = format!("{dir}/j/00000001.seg");
    let whole = fs::read(&file).expect("it was sealed");
    let shown = pieces(&file);
    let last = shown.iter().rfind(|piece| piece["what"] == "seal" || piece["what"] == "frame");
    let place = |name: &str| last.expect("it was written")[name].as_u64().expect("a number");
    let end = (place("offset") + place("bytes")) as usize;
    assert_eq!(shown.last().expect("it has one")["what"], "footer");

    // As a write lies there that was on its way when the process was killed.
    let mut cut = whole.clone();
    cut[end..end + end - 4096].copy_from_slice(&whole[4096..end]);
    fs::write(&file, &cut).expect("scratch can be written");
    run(&["inspect", &dir]).ok();
    let shown = run(&["inspect", &file]).ok();
    assert!(shown.contains("left behind") && shown.contains("footer"), "{shown}");
    run(&["kv", &dir, "verify"]).ok();
    // Without its directory nobody can tell.
    let alone = scratch.path("alone.seg");
    fs::copy(&file, &alone).expect("scratch can be written");
    run(&["inspect", &alone]).failed(3, "TR-E303");

    // Before the end it is damage, and so is what the file does not reach.
    let mut damaged = whole.clone();
    damaged[4096 + 40] ^= 1;
    for bytes in [damaged.as_slice(), &whole[..end - 1], &whole[..512]] {
        fs::write(&file, bytes).expect("scratch can be written");
        for path in [&file, &dir] {
            let answer = run(&["inspect", path]);
            assert!(answer.err.contains(&format!("trilith kv {dir} verify")), "{answer:?}");
            answer.failed(3, "TR-E303");
        }
    }
    fs::write(&file, &whole).expect("scratch can be written");
    run(&["inspect", &dir]).ok();
}

#[test]
fn what_is_no_log_is_not_imported() {
    let scratch = Scratch::new("what_is_no_log_is_not_imported");
    let (dir, log) = (scratch.path("data"), scratch.path("notes.txt"));
    fs::write(&log, b"milk, eggs").expect("scratch can be written");
    run(&["kv", &dir, "import", &log]).failed(1, "TR-E302");
    run(&["kv", &dir, "import", &scratch.path("absent")]).failed(1, "TR-E301");
    // Neither ends.
    run(&["kv", &dir, "import", "/dev/zero"]).failed(1, "TR-E301");
    run(&["inspect", "/dev/zero"]).failed(1, "TR-E301");
    assert!(!Path::new(&dir).exists(), "a refused import made {dir}");
}

#[test]
fn a_log_is_taken_up_to_where_it_is_damaged() {
    let scratch = Scratch::new("a_log_is_taken_up_to_where_it_is_damaged");
    let (dir, log) = (scratch.path("data"), scratch.path("current.log"));
    let whole = b"KV01\x01\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a1\xab\x53\x21\x62";
    // A length of four gigabytes is not waited for, and no memory is taken for it.
    let long = b"KV01\x01\x00\x00\x01\x00\x00\x00\xff\xff\xff\xffb";
    fs::write(&log, [whole.as_slice(), long].concat()).expect("scratch can be written");
    let answer = run(&["kv", &dir, "import", &log]);
    assert!(answer.err.contains("1 entries were taken"), "{answer:?}");
    answer.failed(3, "TR-E303");
    assert_eq!(run(&["kv", &dir, "get", "a"]).ok(), "1\n");
}

#[test]
fn input_that_never_ends_is_refused() {
    let scratch = Scratch::new("input_that_never_ends_is_refused");
    let dir = scratch.path("data");
    run(&["kv", &dir, "load", "/dev/zero"]).failed(2, "TR-E202");
    run(&["config", "check", "/dev/zero"]).failed(1, "TR-E301");
    let endless = fs::File::open("/dev/zero").expect("every machine has it");
    let mut set = trilith();
    let output = set.args(["kv", &dir, "set", "key", "-"]).stdin(endless).output();
    Answer::of(output.expect("the program starts")).failed(2, "TR-E202");
    fs::write(scratch.path("lines"), b"a\t1\r\nb\t\xff\n").expect("scratch can be written");
    run(&["kv", &dir, "load", &scratch.path("lines")]).failed(2, "TR-E203");
    assert_eq!(run(&["kv", &dir, "scan"]).ok(), "a\t1\n", "what stood before is there");
}

#[test]
fn two_processes_cannot_have_one_directory() {
    let scratch = Scratch::new("two_processes_cannot_have_one_directory");
    let dir = scratch.path("data");
    let mut first = trilith()
        .args(["kv", &dir, "load", "--ack"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = first.stdin.take().expect("it was piped");
    writeln!(input, "a\t1").expect("it reads");
    let mut lines = BufReader::new(first.stdout.take().expect("it was piped")).lines();
    assert_eq!(lines.next().expect("an answer").expect("text"), "a");

    run(&["kv", &dir, "get", "a"]).failed(5, "TR-E102");

    drop(input);
    assert!(first.wait().expect("it ends with its input").success(), "the first one is unharmed");
    assert_eq!(run(&["kv", &dir, "get", "a"]).ok(), "1\n");
}

#[test]
fn keys_and_values_beyond_their_limits_are_refused() {
    let scratch = Scratch::new("keys_and_values_beyond_their_limits_are_refused");
    let dir = scratch.path("data");
    let long = "k".repeat(1 << 16);
    run(&["kv", &dir, "set", &long, "v"]).failed(2, "TR-E202");
    run(&["kv", &dir, "set", &long[1..], "v"]).ok();
    assert_eq!(run(&["kv", &dir, "get", &long[1..]]).ok(), "v\n");
    let mut child = trilith()
        .args(["kv", &dir, "set", "large", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("it was piped");
    let large = vec![b'v'; (64 << 20) + 1];
    // It may refuse before it has read everything; then the pipe breaks, and that is its answer.
    let written = input.write_all(&large);
    drop(input);
    let answer = Answer::of(child.wait_with_output().expect("it ends"));
    assert!(written.is_ok() || answer.code == Some(2), "{answer:?}");
    answer.failed(2, "TR-E202");
    run(&["kv", &dir, "get", "large"]).failed(4, "TR-E201");
    run(&["kv", &dir, "delete", "large"]).failed(4, "TR-E201");
}

/// A small file system, if we may make one.
struct Small(PathBuf);

impl Small {
    fn new(path: &str, size: &str) -> Option<Self> {
        fs::create_dir_all(path).expect("scratch can be written");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", path])
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(PathBuf::from(path)))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "umount {}", self.0.display());
    }
}

/// Loads far more than fits through a command; answers the acknowledged keys and how it ended.
fn fill(mut command: Command) -> (BTreeSet<String>, Answer) {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("it was piped");
    let feeder = std::thread::spawn(move || {
        for number in 0..20_000 {
            if writeln!(input, "key-{number:06}\t{}", "v".repeat(8000)).is_err() {
                break;
            }
        }
    });
    let answer = Answer::of(child.wait_with_output().expect("it ends"));
    feeder.join().expect("the feeder ends when the pipe breaks");
    (answer.out.lines().map(str::to_owned).collect(), answer)
}

#[track_caller]
fn nothing_is_lost(dir: &str, acknowledged: &BTreeSet<String>) {
    assert!(acknowledged.len() > 100, "only {} fitted", acknowledged.len());
    let found = run(&["kv", dir, "scan", "--keys-only"]).ok();
    let found: BTreeSet<&str> = found.lines().collect();
    for key in acknowledged {
        assert!(found.contains(key.as_str()), "{key} was acknowledged and is gone");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let scratch = Scratch::new("a_full_disk_loses_nothing");
    // Without the right to mount, a limit on the length of files is the next best refusal.
    let (dir, small) = match Small::new(&scratch.path("small"), "40m") {
        Some(small) => (scratch.path("small/data"), Some(small)),
        None => (scratch.path("data"), None),
    };
    let arguments = ["kv", &dir, "load", "--ack"];
    let (acknowledged, answer) = match &small {
        Some(_) => {
            let mut command = trilith();
            command.args(arguments);
            fill(command)
        }
        None => {
            let mut shell = Command::new("sh");
            let script = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
            shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_trilith")]).args(arguments);
            shell.stdout(Stdio::piped()).stderr(Stdio::piped());
            fill(shell)
        }
    };
    if small.is_some() {
        answer.failed(1, "TR-E106");
    } else {
        assert_ne!(answer.code, Some(0), "{answer:?}");
        answer.calm();
    }
    nothing_is_lost(&dir, &acknowledged);
    if small.is_some() {
        // Full is not a dead end: a deletion is taken, and space comes back.
        for key in acknowledged.iter().take(acknowledged.len() / 2) {
            run(&["kv", &dir, "delete", key]).ok();
            if key.ends_with("00003") {
                break;
            }
        }
        run(&["kv", &dir, "verify"]).ok();
    }
}

/// What a node on a full disk is asked, and what it says.
struct Full {
    redis: Redis,
    acknowledged: Vec<String>,
    /// Nothing happened, it was said.
    refused: Vec<String>,
    /// Nobody knows, it was said.
    doubtful: usize,
}

impl Full {
    fn value(key: &str) -> String {
        format!("{key} ").repeat(500)
    }

    /// Sets the next key; whether that was done. Only a full disk is a reason.
    fn sets(&mut self, key: String) -> bool {
        let said = self.redis.ask(&["SET", &key, &Self::value(&key)]);
        match said.as_str() {
            "OK" => self.acknowledged.push(key),
            said if said.starts_with("(error) OOM ") => self.refused.push(key),
            // It was taken when there was room, and there was none behind it.
            said => {
                assert!(said.starts_with("(error) INDOUBT "), "{said}");
                self.doubtful += 1;
            }
        }
        said == "OK"
    }

    /// Everything that was acknowledged is read, and nothing of what was refused.
    fn is_kept(&mut self) {
        for key in &self.acknowledged {
            let value = self.redis.ask(&["GET", key]);
            assert!(value == format!("{:?}", Self::value(key)), "{key} is {} long", value.len());
        }
        for key in &self.refused {
            assert_eq!(self.redis.ask(&["GET", key]), "(nil)", "{key} was refused");
        }
    }

    /// Sets keys until one is done, or until one is refused.
    fn sets_until(&mut self, is_done: bool, name: &str) {
        let until = Instant::now() + Duration::from_secs(120);
        for nth in 0.. {
            let refused = self.refused.len();
            let done = self.sets(format!("{name}-{nth}"));
            let is_refused = self.refused.len() > refused;
            if (is_done && done) || (!is_done && is_refused) {
                return;
            }
            assert!(Instant::now() < until, "{name}: {nth} keys were set");
        }
    }
}

/// It refuses what is new, answers what is asked, and goes on when somebody has made room.
#[test]
fn a_node_whose_disk_is_full_goes_on_when_there_is_room() {
    let scratch = Scratch::new("a_node_whose_disk_is_full_goes_on_when_there_is_room");
    let small = scratch.path("small");
    let Some(_mounted) = Small::new(&small, "12m") else {
        eprintln!("left out: nobody may mount a small file system here");
        return;
    };
    // What somebody else keeps there.
    let ballast = format!("{small}/ballast");
    fs::write(&ballast, vec![1_u8; 8 << 20]).expect("it fits");
    let at = addresses(2);
    let (resp, data) = (at[0], format!("{small}/data"));
    let (members, listen) = (format!("1={}", at[1]), resp.to_string());
    let start = || {
        let usual = ["--node", "1", "--members", &members, "--data", &data, "--resp", &listen];
        let more = ["--election-ms", "150", "--within-ms", "3000", "--tiny"];
        Server::start(&[&usual[..], &more].concat())
    };
    let node = start();
    let redis = Redis::to(resp);
    let mut full = Full { redis, acknowledged: Vec::new(), refused: Vec::new(), doubtful: 0 };
    full.sets_until(true, "first");
    full.sets_until(false, "fills");
    assert!(full.acknowledged.len() > 100, "only {} fitted", full.acknowledged.len());
    full.is_kept();
    // A deletion is taken: it is how room comes back.
    let gone = full.acknowledged.pop().expect("there are many");
    match full.redis.ask(&["DEL", &gone]).as_str() {
        "(integer) 1" => assert_eq!(full.redis.ask(&["GET", &gone]), "(nil)"),
        // It waits behind what was taken before and has no room.
        said => assert!(full.doubtful > 0 && said.starts_with("(error) INDOUBT "), "{said}"),
    }
    // Whatever else only takes keys away is taken too, or waits as well.
    for ask in ["DEL", "UNLINK", "EXPIRE"] {
        let gone: Vec<String> = (0..2).filter_map(|_| full.acknowledged.pop()).collect();
        let is_expire = ask == "EXPIRE";
        let last = if is_expire { "0" } else { &gone[1] };
        if is_expire {
            full.acknowledged.push(gone[1].clone());
        }
        match full.redis.ask(&[ask, &gone[0], last]).as_str() {
            "(integer) 2" => assert!(!is_expire),
            "(integer) 1" => assert!(is_expire),
            said => assert!(full.doubtful > 0 && said.starts_with("(error) INDOUBT "), "{said}"),
        }
    }
    // Room, at last.
    fs::remove_file(&ballast).expect("it is there");
    full.sets_until(true, "goes-on");
    full.is_kept();
    let ended = node.end("-TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.calm();
    let node = start();
    full.redis = Redis::to(resp);
    full.sets_until(true, "after");
    full.is_kept();
    // Before the file system under it.
    drop(node);
}

/// Every file below a directory, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there").map(|entry| entry.expect("readable")) {
        if entry.file_type().expect("readable").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn damaged_files_are_noticed_and_never_panic() {
    let scratch = Scratch::new("damaged_files_are_noticed_and_never_panic");
    let whole = scratch.path("whole");
    for number in 0..5 {
        run(&["kv", &whole, "set", &format!("k{number:02}"), &"v".repeat(300)]).ok();
    }
    let names: Vec<PathBuf> = files(Path::new(&whole))
        .into_iter()
        .map(|path| path.strip_prefix(&whole).expect("below it").to_owned())
        .collect();
    let mut refusals = 0;
    for (number, name) in names.iter().enumerate() {
        let damages: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes.clear(),
            |bytes| bytes.fill(0xff),
            |bytes| bytes.truncate(bytes.len() / 2),
            |bytes| {
                // Some damage in the front, where the identity of a file stands.
                if let Some(byte) = bytes.get_mut(10) {
                    *byte ^= 0x40;
                }
            },
        ];
        for (kind, damage) in damages.into_iter().enumerate() {
            let dir = scratch.path(&format!("copy-{number}-{kind}"));
            for name in &names {
                let to = Path::new(&dir).join(name);
                fs::create_dir_all(to.parent().expect("it has one")).expect("scratch");
                fs::copy(Path::new(&whole).join(name), to).expect("scratch");
            }
            let target = Path::new(&dir).join(name);
            let mut bytes = fs::read(&target).expect("it was copied");
            damage(&mut bytes);
            fs::write(&target, bytes).expect("scratch");

            let answer = run(&["kv", &dir, "scan"]);
            answer.calm();
            if answer.code == Some(0) {
                for line in answer.out.lines() {
                    let (_, value) = line.split_once('\t').expect("two columns");
                    assert_eq!(value, "v".repeat(300), "{} damage {kind}", name.display());
                }
            } else {
                assert!(answer.err.contains("TR-E1"), "{} {answer:?}", name.display());
                assert!(answer.err.contains("\nnext: "), "{answer:?}");
                refusals += 1;
            }
            run(&["inspect", &target.to_string_lossy()]).calm();
            fs::remove_dir_all(&dir).expect("scratch");
        }
    }
    assert!(refusals > 0, "no damage was ever noticed");
}

#[test]
fn a_command_line_that_is_none_says_how_to_ask() {
    let cases: [(&[&str], &str); 6] = [
        (&["standalon"], "next: trilith --help"),
        (&["standalone", "--dta", "x"], "next: trilith standalone --help"),
        (&["ctl", "backup", "crate"], "next: trilith ctl backup --help"),
        (&["ctl", "backup", "create"], "next: trilith ctl backup create --help"),
        (&["kv", "dir", "scan", "--limit", "many"], "next: trilith"),
        (&["-o", "xml", "version"], "next: trilith"),
    ];
    for (words, next) in cases {
        let answer = run(words);
        assert!(answer.err.contains(next), "{words:?}: {answer:?}");
        answer.failed(2, "TR-E001");
    }
    let typo = run(&["standalone", "--dta", "x"]);
    assert!(typo.err.contains("'--data'"), "what is like it is named: {typo:?}");
    for help in [&["--help"][..], &["ctl", "--help"], &["--version"]] {
        assert!(run(help).ok().len() > 5);
    }
}

/// What it would go on to acknowledge nobody would find again.
#[test]
fn a_node_ends_whose_directory_is_taken_away() {
    let scratch = Scratch::new("a_node_ends_whose_directory_is_taken_away");
    let (data, away) = (scratch.path("data"), scratch.path("away"));
    let start = || {
        let at: Vec<String> = addresses(3).iter().map(ToString::to_string).collect();
        let own = ["--data", &data, "--resp", &at[0], "--http", &at[1], "--listen", &at[2]];
        (Server::of(&[&["standalone"][..], &own].concat()), at[0].clone())
    };
    let (node, at) = start();
    run(&["cli", "--resp", &at, "set", "a", "1"]).ok();
    fs::rename(&data, &away).expect("scratch can be written");
    let moved = node.ended();
    assert!(moved.err.contains("put it back"), "{moved:?}");
    moved.failed_after_its_log(1, "TR-E110");
    fs::rename(&away, &data).expect("scratch can be written");
    let (node, at) = start();
    assert!(run(&["cli", "--resp", &at, "get", "a"]).ok().contains('1'));
    fs::rename(&data, &away).expect("scratch can be written");
    fs::create_dir(&data).expect("scratch can be written");
    node.ended().failed_after_its_log(1, "TR-E110");
}
