//! What a line at the prompt means.
//!
//! Whatever is no word of the prompt's own is a command for the cluster, as it stands: the cluster
//! reads quotation marks itself and says what it does not know.
//!
//! Not here: doing it (`session.rs`).

/// What there is to say.
pub(super) const HELP: &str = "
  set KEY VALUE, get KEY, …    any Redis command, asked of a node that runs
  on N COMMAND                 the same, asked of node N
  explain COMMAND              the same, and what the nodes said to each other meanwhile
  chaos kill N                 node N is gone from one moment to the next
  chaos pause N                it stands still
  chaos partition N            the other nodes hear nothing of it, nor it of them
  chaos heal [N]               whatever was done to it, or to all, is over
  status                       how the nodes are
  quit                         as the end of the input does

N is a node's number, or: leader";

/// What may be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chaos {
    Kill,
    Pause,
    Partition,
    Heal,
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Node(u64),
    Leader,
    All,
}

/// What a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Nothing,
    Help,
    Status,
    Quit,
    Chaos(Chaos, Which),
    Explain(&'a str),
    /// Asked of that node, or of any.
    Ask(Option<Which>, &'a str),
    /// What is wrong with it.
    Unclear(&'static str),
}

/// Reads a line.
pub(super) fn read(line: &str) -> Line<'_> {
    let (first, rest) = cut(line);
    match first.to_ascii_lowercase().as_str() {
        "" => Line::Nothing,
        _ if first.starts_with('#') => Line::Nothing,
        "help" | "?" => Line::Help,
        "status" => Line::Status,
        "quit" | "exit" => Line::Quit,
        "explain" if rest.is_empty() => {
            Line::Unclear("explain what? for example: explain get hello")
        }
        "explain" => Line::Explain(rest),
        "on" => match cut(rest) {
            (_, "") => Line::Unclear("on which node, and what? for example: on 2 get hello"),
            (node, question) => match which(node) {
                Some(Which::All) | None => Line::Unclear("a node is a number, or: leader"),
                node => Line::Ask(node, question),
            },
        },
        "chaos" => chaos(rest),
        _ => Line::Ask(None, line.trim()),
    }
}

fn chaos(rest: &str) -> Line<'_> {
    let (what, node) = cut(rest);
    let chaos = match what.to_ascii_lowercase().as_str() {
        "kill" => Chaos::Kill,
        "pause" => Chaos::Pause,
        "partition" => Chaos::Partition,
        "heal" => Chaos::Heal,
        _ => return Line::Unclear("chaos is kill, pause, partition or heal, and a node"),
    };
    match (chaos, which(node)) {
        (Chaos::Heal, None) if node.is_empty() => Line::Chaos(chaos, Which::All),
        (_, Some(node)) => Line::Chaos(chaos, node),
        (_, None) => Line::Unclear("a node is a number, leader or all"),
    }
}

fn which(word: &str) -> Option<Which> {
    match word.to_ascii_lowercase().as_str() {
        "leader" => Some(Which::Leader),
        "all" => Some(Which::All),
        word => word.strip_prefix('n').unwrap_or(word).parse().ok().map(Which::Node),
    }
}

/// The first word and what stands behind it.
fn cut(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_means_what_it_says() {
        let any = |question| Line::Ask(None, question);
        for (line, means) in [
            ("", Line::Nothing),
            ("  # a remark", Line::Nothing),
            (" set  hello \"a b\" ", any("set  hello \"a b\"")),
            ("chaotic", any("chaotic")),
            ("HELP", Line::Help),
            ("quit", Line::Quit),
            ("Chaos Kill n2", Line::Chaos(Chaos::Kill, Which::Node(2))),
            ("chaos pause leader", Line::Chaos(Chaos::Pause, Which::Leader)),
            ("chaos partition 3", Line::Chaos(Chaos::Partition, Which::Node(3))),
            ("chaos heal", Line::Chaos(Chaos::Heal, Which::All)),
            ("chaos heal 1", Line::Chaos(Chaos::Heal, Which::Node(1))),
            ("explain get hello", Line::Explain("get hello")),
            ("on 2 get hello", Line::Ask(Some(Which::Node(2)), "get hello")),
        ] {
            assert_eq!(read(line), means, "{line:?}");
        }
        for line in
            ["chaos", "chaos kill", "chaos kill x", "chaos burn 1", "explain", "on 2", "on x get"]
        {
            assert!(matches!(read(line), Line::Unclear(_)), "{line:?}: {:?}", read(line));
        }
    }
}
