//! Who may ask: no web page may, through the browser of somebody who happens to be near.
//!
//! A browser sends what any page tells it to, also to this machine's own ports. It says where the
//! page is from (`origin`, `sec-fetch-site`), and a page that had its own name point here says that
//! name (`host`, or the target itself), with which its origin agrees; reading over plain HTTP it says no more than the name.
//! So every request is refused that is for a name, unless it is `localhost` or the operator has
//! listed it, and so is that of a page which is not from there. Whoever is no browser says nothing of
//! pages.
//!
//! Not here: users and passwords (`login.rs`).

use std::net::IpAddr;

use trilith_engine::planted;

use super::{answer::Problem, cut::Request};

/// Whether this request may be answered at a port that has these names.
///
/// # Errors
/// When it comes from a web page, or may.
pub(super) fn may(request: &Request, names: &[String]) -> Result<(), Problem> {
    let (host, origin) = (request.host()?, request.once("origin")?);
    let site = request.once("sec-fetch-site")?;
    let name = host.unwrap_or_default();
    let is_own = origin.is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(name))
    });
    let is_foreign = !is_own || site.is_some_and(|site| !matches!(site, "none" | "same-origin"));
    if is_foreign && !planted!("http_any_page_may_ask") {
        let hint = "ask from a program; web pages of others are not served";
        return Err(Problem::new(403, "FOREIGN", "the request is from a web page", hint));
    }
    if host.is_some() && !is_own_name(name, names) {
        let hint = "ask for the address itself, or list the name in the setting http.hosts";
        let what = format!("the request is for {name:?}, which is no name of this port");
        return Err(Problem::new(403, "FOREIGN", what, hint));
    }
    Ok(())
}

/// Whether nobody can have made a name point here: it is an address, or `localhost`, or one of these.
fn is_own_name(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or(v6, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    let is_listed = || names.iter().any(|own| own.eq_ignore_ascii_case(name));
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() || is_listed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cut::{Cut, Cutter};
    use bytes::BytesMut;

    fn may_ask(headers: &str) -> bool {
        asks_for("/", headers)
    }

    fn asks_for(target: &str, headers: &str) -> bool {
        let text = format!("GET {target} HTTP/1.1\r\n{headers}\r\n\r\n");
        let cut = Cutter::default().take(&mut BytesMut::from(text.as_bytes())).unwrap();
        let Cut::Request(request) = cut else { panic!("{cut:?}") };
        may(&request, &["db.example".to_owned()]).is_ok()
    }

    #[test]
    fn programs_may_ask_and_pages_of_others_may_not() {
        assert!(may_ask("Host: localhost:7380"));
        assert!(may_ask("Host: 127.0.0.1:7380"));
        assert!(may_ask("Host: [::1]:7380"));
        assert!(may_ask("A: b"), "an old program");
        assert!(may_ask("Host: localhost:7380\r\nOrigin: http://localhost:7380"));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: http://evil.example"));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: null"));
        assert!(!may_ask("Host: localhost:7380\r\nOrigin: \u{ff}"));
        assert!(!may_ask("Host: evil.example:7380"), "a name that a page had point here");
        assert!(may_ask("Host: DB.example.:7380"), "a name of its own");
        assert!(!may_ask("Host: a.db.example:7380"));
        assert!(!may_ask("Host: db.example\r\nOrigin: http://evil.example"));
        assert!(!may_ask("Host: evil.example\r\nOrigin: http://evil.example"), "points there");
        assert!(!may_ask("Host: evil.example\r\nSec-Fetch-Site: same-origin"));
        assert!(!may_ask("Host: localhost\r\nSec-Fetch-Site: cross-site"));
        assert!(may_ask("Host: localhost\r\nSec-Fetch-Site: none"), "typed into a browser");
        assert!(may_ask("Host: 10.0.0.1:7380\r\nOrigin: http://10.0.0.1:7380"));
        assert!(!may_ask("Host: localhost\r\nHost: evil.example"), "two names");
        assert!(!may_ask("Host: "), "no name");
        assert!(asks_for("http://localhost:7380/", "Host: evil.example"), "the target counts");
        assert!(!asks_for("http://evil.example/", "Host: localhost:7380"));
        assert!(!asks_for("http://evil.example/", "A: b"));
        assert!(!asks_for("http://a@localhost/", "Host: localhost"), "a user is no part of a name");
        assert!(!asks_for("http:///", "Host: localhost"), "no name");
    }
}
