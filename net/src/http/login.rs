//! Who asks: a user and his password, as `authorization: Basic` says them, with each request.
//!
//! Not here: whether they are right (`gate.rs`), web pages of others (`guard.rs`).

use base64::{Engine, engine::general_purpose::STANDARD};
use trilith_engine::{mark, planted, runtime::Runtime};

use super::{
    answer::Problem,
    cut::{Method, Request},
    route,
};
use crate::{
    gate::{Entry, Gate, Guesses},
    limits::{PASSWORD_BYTES_MAX, USER_NAME_BYTES_MAX},
};

/// Whether whoever sends this may ask it. What says only whether the node is well is for everybody.
///
/// # Errors
/// When he has to say who he is, or is not who he says.
pub(super) async fn may<R: Runtime>(
    gate: &Gate<R>,
    request: &Request,
    guesses: &mut Guesses,
) -> Result<(), Problem> {
    if gate.is_open() || is_for_all(request)? || planted!("http_no_auth_asked") {
        return Ok(());
    }
    let Some(said) = request.once("authorization")? else {
        mark!("http: nobody had said who asks");
        return Err(Problem::stranger("nobody has said who asks"));
    };
    let (name, password) =
        basic(said).ok_or_else(|| Problem::stranger("it cannot be read who asks"))?;
    match gate.enter(&name, &password, guesses).await {
        Entry::In(_) => Ok(()),
        Entry::Wrong => {
            Err(Problem::stranger("there is no such user, or his password is another one"))
        }
        Entry::Crowded => {
            let what = "too many want to log in";
            Err(Problem::new(503, "OVERLOADED", what, "wait a little and ask again"))
        }
    }
}

/// Whether a request only asks how the node is. One that brings something with it does not: what
/// strangers send is not kept.
fn is_for_all(request: &Request) -> Result<bool, Problem> {
    let brings = request.once("content-length")?.is_some_and(|length| length.trim() != "0")
        || request.once("transfer-encoding")?.is_some();
    let is_read = matches!(request.method, Method::Get | Method::Head);
    Ok(is_read && !brings && route::is_for_all(&request.target))
}

/// A name and a password.
fn basic(said: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, coded) = said.split_once(' ')?;
    // Four letters are three bytes.
    if coded.len() > 2 * (USER_NAME_BYTES_MAX + PASSWORD_BYTES_MAX) {
        return None;
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(coded.trim()).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    Some((bytes[..colon].to_vec(), bytes[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cut::{Cut, Cutter};
    use bytes::BytesMut;

    #[test]
    fn only_who_brings_nothing_need_not_say_who_asks() {
        let is_for_all = |head: &str| {
            let mut cutter = Cutter::default();
            match cutter.take(&mut BytesMut::from(format!("{head}\r\n\r\n").as_bytes())).unwrap() {
                Cut::Request(request) => is_for_all(&request).unwrap(),
                _ => is_for_all(cutter.head_of_pending().unwrap()).unwrap(),
            }
        };
        assert!(is_for_all("GET /livez HTTP/1.1"));
        assert!(is_for_all("HEAD /readyz?verbose HTTP/1.1\r\nContent-Length: 0"));
        assert!(!is_for_all("GET /v1/status HTTP/1.1"));
        assert!(!is_for_all("PUT /livez HTTP/1.1\r\nContent-Length: 11900010"));
        assert!(!is_for_all("GET /livez HTTP/1.1\r\nContent-Length: 11900010"));
        assert!(!is_for_all("GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked"));
    }

    #[test]
    fn who_asks_is_read_as_it_is_written() {
        let read = |said: &str| basic(said);
        let expected = Some((b"Aladdin".to_vec(), b"open sesame".to_vec()));
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), expected);
        assert_eq!(read("bAsIc  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), expected);
        // A password may have colons, and be of any bytes.
        assert_eq!(read("Basic YTpiOmM="), Some((b"a".to_vec(), b"b:c".to_vec())));
        assert_eq!(read("Basic Ojo="), Some((b"".to_vec(), b":".to_vec())));
        for wrong in ["", "Basic", "Basic ", "Bearer QTpi", "Basic QQ", "Basic YWI=", "Basic *"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("Basic {}", "YTpi".repeat(1000))), None);
    }
}
