//! Which header fields pass the proxy, and which it adds.
//!
//! Fields that are about one connection do not pass (RFC 9110, section 7.6.1). hyper writes those
//! of the next connection itself.

use hyper::Version;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::request;
use std::net::IpAddr;

/// Fields of one connection, beside those that `Connection` names.
static OF_ONE_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What `Via` says about this proxy (RFC 9110, section 7.6.3).
const NAME: &str = "1.1 proxy";

/// Removes the fields of one connection. Returns the protocol to which it shall be upgraded.
pub(crate) fn remove_those_of_one_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrades = false;
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            upgrades |= name.eq_ignore_ascii_case(b"upgrade");
            named.extend(HeaderName::from_bytes(name));
        }
    }
    let protocol = headers.get(UPGRADE).filter(|_| upgrades).cloned();
    // hyper has read the body as this field says, so a length beside it was wrong. To send that on
    // would let a client smuggle a request.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
    protocol
}

/// Asks the next server for an upgrade, or answers that it was made.
pub(crate) fn upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Makes the head of a request one for the upstream. Returns the protocol to which the connection
/// shall be upgraded. `None`: the request names no host, or two.
///
/// `Host` stays what the client has sent, so that the upstream can tell its sites apart.
pub(crate) fn for_upstream(head: &mut request::Parts, peer: IpAddr) -> Option<Option<HeaderValue>> {
    // HTTP/2 has no `Host`, and a target with a host overrides it in HTTP/1 (RFC 9112, 3.2.2).
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (head.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => return None,
        (Some(host), _, None) => Some(HeaderValue::from_str(host.as_str()).ok()?),
        (None, Some(host), None) => Some(host.clone()),
        // hyper adds the name of the upstream.
        (None, None, None) if head.version == Version::HTTP_10 => None,
        (None, None, None) => return None,
    };
    let headers = &mut head.headers;
    let takes_trailers = headers.get_all(TE).iter().any(|value| {
        let codings = value.as_bytes().split(|byte| *byte == b',');
        codings
            .into_iter()
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    let protocol = remove_those_of_one_connection(headers);
    // hyper has answered it, or will once the body is asked for.
    headers.remove(EXPECT);
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
    let protocol = protocol.filter(|_| head.version == Version::HTTP_11);
    if let Some(protocol) = &protocol {
        upgrade(headers, protocol.clone());
    } else if takes_trailers {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TRAILER);
    }
    // What was there came from the client, or from another proxy, and is as true as that is.
    append(headers, &FORWARDED_FOR, &peer.to_string());
    let node = match peer {
        IpAddr::V4(addr) => format!("for={addr};proto=http"),
        IpAddr::V6(addr) => format!("for=\"[{addr}]\";proto=http"),
    };
    append(headers, &FORWARDED, &node);
    headers.insert(&FORWARDED_PROTO, HeaderValue::from_static("http"));
    append(headers, &VIA, NAME);
    head.version = Version::HTTP_11;
    Some(protocol)
}

/// Makes the head of a response one for the client. Returns the protocol of an upgrade.
pub(crate) fn for_client(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let protocol = remove_those_of_one_connection(headers);
    append(headers, &VIA, NAME);
    protocol
}

/// Appends an element to a field that is a list.
fn append(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}
