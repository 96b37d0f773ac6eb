//! Who may ask: no web page may, through the browser of somebody who happens to be near.
//!
//! A browser sends what any page tells it to, also to this machine's own ports. It says where the
//! page is from (`origin`, `sec-fetch-site`), and a page that had its own name point here says that
//! name (`host`), with which its origin agrees. So a request of a page is refused unless it is for an
//! address or `localhost` and from there; and at a port that only this machine reaches, every
//! request for another name. Whoever is no browser says nothing of pages.
//!
//! Not here: users and passwords.

use std::net::{IpAddr, SocketAddr};

use trilith_engine::planted;

use super::{answer::Problem, cut::Request};

/// Whether this request may be answered at a port that listens there.
///
/// # Errors
/// When it comes from a web page.
pub(super) fn may(request: &Request, at: SocketAddr) -> Result<(), Problem> {
    let (host, origin) = (request.once("host")?, request.once("origin")?);
    let site = request.once("sec-fetch-site")?;
    let name = host.unwrap_or_default();
    let is_own = origin.is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(name))
    });
    let is_of_page = origin.is_some() || site.is_some_and(|site| site != "none");
    let is_foreign = !is_own || site.is_some_and(|site| !matches!(site, "none" | "same-origin"));
    if is_of_page && (is_foreign || !is_plain(name)) && !planted!("http_any_page_may_ask") {
        let hint = "ask from a program; web pages of others are not served";
        return Err(Problem::new(403, "FOREIGN", "the request is from a web page", hint));
    }
    if at.ip().to_canonical().is_loopback() && host.is_some() && !is_plain(name) {
        let hint = "ask for localhost, or for the address itself";
        let what = format!("the request is for {name:?}, which is no name of this port");
        return Err(Problem::new(403, "FOREIGN", what, hint));
    }
    Ok(())
}

/// Whether nobody can have made a name point here: it is an address, or `localhost`.
fn is_plain(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or(v6, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cut::{Cut, Cutter};
    use bytes::BytesMut;

    fn may_ask(headers: &str, at: &str) -> bool {
        let text = format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
        let cut = Cutter::default().take(&mut BytesMut::from(text.as_bytes())).unwrap();
        let Cut::Request(request) = cut else { panic!("{cut:?}") };
        may(&request, at.parse().unwrap()).is_ok()
    }

    #[test]
    fn programs_may_ask_and_pages_of_others_may_not() {
        let here = "127.0.0.1:7380";
        assert!(may_ask("Host: localhost:7380", here));
        assert!(may_ask("Host: 127.0.0.1:7380", here));
        assert!(may_ask("Host: [::1]:7380", "[::1]:7380"));
        assert!(may_ask("A: b", here), "an old program");
        assert!(may_ask("Host: localhost:7380\r\nOrigin: http://localhost:7380", here));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: http://evil.example", here));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: null", here));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: \u{ff}", here));
        assert!(!may_ask("Host: evil.example:7380", here), "a name that points here");
        assert!(may_ask("Host: db.example:7380", "10.0.0.1:7380"), "reached from elsewhere");
        let there = "10.0.0.1:7380";
        assert!(!may_ask("Host: db.example\r\nOrigin: http://evil.example", there));
        assert!(
            !may_ask("Host: evil.example\r\nOrigin: http://evil.example", there),
            "points there"
        );
        assert!(!may_ask("Host: evil.example\r\nSec-Fetch-Site: same-origin", there));
        assert!(!may_ask("Host: localhost\r\nSec-Fetch-Site: cross-site", here));
        assert!(may_ask("Host: localhost\r\nSec-Fetch-Site: none", here), "typed into a browser");
        assert!(may_ask("Host: 10.0.0.1:7380\r\nOrigin: http://10.0.0.1:7380", there));
        assert!(!may_ask("Host: evil.example", "[::ffff:127.0.0.1]:7380"));
        assert!(!may_ask("Host: localhost\r\nHost: evil.example", here), "two names");
    }
}
