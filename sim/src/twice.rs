//! Twice: the same seed must be the same run, to the last bit.
//!
//! Not here yet: the comparison itself.

/// A leak of non-determinism, put in on purpose to see that it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leak {
    /// None.
    #[default]
    None,
    /// The order of a randomly seeded hash map decides who is woken first.
    HashOrder,
    /// The real clock decides who is woken first.
    Clock,
}

impl Leak {
    /// The items in the order that the leak gives them.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the leak is the point"
    )]
    pub fn shuffle<T>(self, items: &[T]) -> Vec<&T> {
        match self {
            Self::None => items.iter().collect(),
            Self::HashOrder => {
                let map: std::collections::HashMap<usize, &T> = items.iter().enumerate().collect();
                map.into_values().collect()
            }
            Self::Clock => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let nanos = now.map_or(0, |now| now.subsec_nanos() / 100);
                let mut all: Vec<&T> = items.iter().collect();
                all.rotate_left(nanos as usize % items.len().max(1));
                all
            }
        }
    }
}
