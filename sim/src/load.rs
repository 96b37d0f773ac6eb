//! Load: what the clients ask, drawn before the run.
//!
//! The generator is part of the test: a workload that is too narrow finds nothing, however many
//! seeds it is given. So each seed draws its own mix, skew and pace from the ranges of its
//! scenario, and the result is a plan, a plain list: it can be printed, kept in a file, and
//! shortened by the shrinker without moving what is left.
//!
//! Values are unique: a value names the operation that wrote it. A cas hopes for what its client
//! saw last of that key, which is known only in the run; the plan says only what it wants to
//! write.
//!
//! Not here: who sends it (`subject`).

use std::{fmt, str::FromStr};

use trilith_engine::runtime::Rng;

use crate::{
    history::{Key, Value},
    luck::{Domain, Luck},
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The value.
    Get,
    /// A new value.
    Set(Value),
    /// No value.
    Delete,
    /// A new value if nothing has changed since the client looked.
    Cas(Value),
    /// A larger sum.
    Incr(Value),
}

/// One operation of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Who asks.
    pub client: u32,
    /// When, in virtual nanoseconds since the beginning; later if the one before takes longer.
    pub at_ns: u64,
    /// About which key.
    pub key: Key,
    /// What.
    pub ask: Ask,
}

impl fmt::Display for Planned {
    /// `12.5ms c1 k3 set 7`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, at_ns, key, ask } = self;
        write!(f, "{}.{:06}ms c{client} k{key} ", at_ns / 1_000_000, at_ns % 1_000_000)?;
        match ask {
            Ask::Get => f.write_str("get"),
            Ask::Set(value) => write!(f, "set {value}"),
            Ask::Delete => f.write_str("delete"),
            Ask::Cas(to) => write!(f, "cas {to}"),
            Ask::Incr(by) => write!(f, "incr {by}"),
        }
    }
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let bad = || format!("{text:?} is not like `12.5ms c1 k3 set 7`");
        let number =
            |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok()).ok_or_else(bad);
        let small = |word: &str, prefix: char| {
            word.strip_prefix(prefix).and_then(|digits| digits.parse().ok()).ok_or_else(bad)
        };
        let [at, client, key, what, rest @ ..] = words.as_slice() else { return Err(bad()) };
        let at = at.strip_suffix("ms").ok_or_else(bad)?;
        let (whole, part) = at.split_once('.').unwrap_or((at, "0"));
        let part = format!("{part:0<6}");
        let ms_ns = number(Some(whole))?.checked_mul(1_000_000).ok_or_else(bad)?;
        let at_ns = ms_ns.checked_add(number(part.get(..6))?).ok_or_else(bad)?;
        let value = || number(rest.first().copied());
        let ask = match *what {
            "get" => Ask::Get,
            "set" => Ask::Set(value()?),
            "delete" => Ask::Delete,
            "cas" => Ask::Cas(value()?),
            "incr" => Ask::Incr(value()?),
            _ => return Err(bad()),
        };
        Ok(Self { client: small(client, 'c')?, at_ns, key: small(key, 'k')?, ask })
    }
}

/// How likely each kind of operation is, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Gets.
    pub get: u64,
    /// Sets.
    pub set: u64,
    /// Deletes.
    pub delete: u64,
    /// Compare-and-sets.
    pub cas: u64,
    /// Increments. They go to keys of their own, so that sums can be judged.
    pub incr: u64,
}

impl Mix {
    /// All parts together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.get + self.set + self.delete + self.cas + self.incr
    }
}

/// What a load is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many clients.
    pub clients: u32,
    /// How many operations each asks in the first phase.
    pub operations: u32,
    /// How many in the calm phase.
    pub calm_operations: u32,
    /// How many keys; as many again for sums.
    pub keys: u32,
    /// Out of 100, how often the first key is meant whatever else was drawn.
    pub hot: u64,
    /// The mix.
    pub mix: Mix,
    /// The first phase's length.
    pub chaos_ns: u64,
    /// When the calm phase's load begins.
    pub calm_from_ns: u64,
    /// Its length.
    pub calm_ns: u64,
}

/// Draws the whole plan, in order of time for each client.
#[must_use]
pub fn plan(seed: u64, shape: &Shape) -> Vec<Planned> {
    let mut all = Vec::new();
    for client in 0..shape.clients {
        let mut luck = Luck::new(seed, Domain::Load(u64::from(client)));
        let phases = [
            (shape.operations, 0, shape.chaos_ns),
            (shape.calm_operations, shape.calm_from_ns, shape.calm_ns),
        ];
        let mut written = 0;
        for (count, from, length) in phases {
            let mut times: Vec<u64> =
                (0..count).map(|_| from + luck.range(0..length.max(1))).collect();
            times.sort_unstable();
            for at_ns in times {
                let (key, ask) = draw(shape, client, &mut written, &mut luck);
                all.push(Planned { client, at_ns, key, ask });
            }
        }
    }
    all
}

fn draw(shape: &Shape, client: u32, written: &mut u64, luck: &mut Luck) -> (Key, Ask) {
    let key =
        if luck.chance(shape.hot, 100) { 0 } else { luck.range(0..u64::from(shape.keys.max(1))) };
    let key = u32::try_from(key).unwrap_or(0);
    *written += 1;
    let value = (u64::from(client) + 1) * 1_000_000 + *written;
    let Mix { get, set, delete, cas, .. } = shape.mix;
    let mut dice = luck.range(0..shape.mix.total().max(1));
    // Half of the gets look at sums, if there are any.
    let sums = luck.chance(u64::from(shape.mix.incr > 0), 2);
    for (part, ask) in
        [(get, Ask::Get), (set, Ask::Set(value)), (delete, Ask::Delete), (cas, Ask::Cas(value))]
    {
        if dice < part {
            let key = if ask == Ask::Get && sums { key + shape.keys } else { key };
            return (key, ask);
        }
        dice -= part;
    }
    (key + shape.keys, Ask::Incr(luck.range(1..4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            clients: 3,
            operations: 50,
            calm_operations: 10,
            keys: 4,
            hot: 20,
            mix: Mix { get: 4, set: 4, delete: 1, cas: 1, incr: 2 },
            chaos_ns: 1_000_000_000,
            calm_from_ns: 2_000_000_000,
            calm_ns: 100_000_000,
        }
    }

    #[test]
    fn a_plan_reads_back_from_its_text() {
        for planned in plan(7, &shape()) {
            assert_eq!(planned.to_string().parse(), Ok(planned));
        }
        assert!("5ms c0 k1 jump".parse::<Planned>().is_err());
        assert!("18446744073709551615ms c0 k1 get".parse::<Planned>().is_err());
        assert!("18446744073709.999999ms c0 k1 get".parse::<Planned>().is_err());
        assert_eq!("5.5ms c0 k1 get".parse::<Planned>().map(|one| one.at_ns), Ok(5_500_000));
    }

    #[test]
    fn a_plan_depends_on_the_seed_alone_and_values_are_unique() {
        assert_eq!(plan(1, &shape()), plan(1, &shape()));
        assert_ne!(plan(1, &shape()), plan(2, &shape()));
        let all = plan(3, &shape());
        assert_eq!(all.len(), 180);
        let mut values: Vec<u64> = all
            .iter()
            .filter_map(|one| match one.ask {
                Ask::Set(value) | Ask::Cas(value) => Some(value),
                Ask::Get | Ask::Delete | Ask::Incr(_) => None,
            })
            .collect();
        let count = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), count);
        assert!(all.iter().any(|one| matches!(one.ask, Ask::Incr(_)) && one.key >= 4));
    }
}
