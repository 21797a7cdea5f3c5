//! The protocol: methods, conditions, ranges and types (RFC 9110).

use crate::body::FileBody;
use crate::files::{Fault, Files, Opened};
use headers::{
    AcceptRanges, ContentLength, ContentRange, ContentType, ETag, HeaderMapExt, IfMatch,
    IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified,
};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

type Answer = Response<Either<FileBody, Full<Bytes>>>;

/// Answers a request.
pub(crate) async fn answer(
    request: Request<Incoming>,
    files: Arc<Files>,
) -> Result<Answer, Infallible> {
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED);
        set(&mut response, header::ALLOW, "GET, HEAD");
        return Ok(response);
    }
    let path = request.uri().path().to_owned();
    let opening = reveille::spawn_blocking(move || files.open(&path));
    Ok(match opening.await {
        Ok(Ok(opened)) => file(method, request.headers(), opened),
        Ok(Err(Fault::Folder)) => {
            // Only one slash is in front: two would name another host.
            let location = format!("{}/", request.uri().path());
            let mut response = text(StatusCode::MOVED_PERMANENTLY);
            set(&mut response, header::LOCATION, &location);
            response
        }
        Ok(Err(Fault::NotFound)) => text(StatusCode::NOT_FOUND),
        Ok(Err(Fault::Busy)) => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE);
            set(&mut response, header::RETRY_AFTER, "1");
            response
        }
        Ok(Err(Fault::Other(error))) => broken(&error),
        Err(error) => broken(&error),
    })
}

/// A response that has no more than the name of its status.
fn text(status: StatusCode) -> Answer {
    let body = Full::from(format!("{status}\n"));
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/plain");
    response
}

fn broken(error: &dyn std::error::Error) -> Answer {
    eprintln!("files: {error}");
    text(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Sets a header, to nothing if the text may not be in one.
fn set(response: &mut Answer, name: header::HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
    response.headers_mut().insert(name, value);
}

/// Answers with a file, a part of it, or that the client has it.
fn file(method: &Method, request: &HeaderMap, opened: Opened) -> Answer {
    let Opened {
        file,
        metadata,
        path,
    } = opened;
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let tag = tag(&metadata);
    let mut response = Response::new(Either::Left(FileBody::empty()));
    let headers = response.headers_mut();
    headers.typed_insert(LastModified::from(modified));
    headers.typed_insert(tag.clone());
    headers.typed_insert(AcceptRanges::bytes());
    if let Some(status) = precondition(request, &tag, modified) {
        *response.status_mut() = status;
        return response;
    }
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    headers.typed_insert(ContentType::from(kind));
    // Browsers must not guess another type.
    let (name, value) = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(name, value);

    let all = metadata.len();
    let (mut offset, mut len) = (0, all);
    match range(method, request, &tag, modified, all) {
        Range::All => {}
        Range::Part(first, last) => {
            (offset, len) = (first, last - first + 1);
            // It fails only if the range is empty or ends behind the file.
            headers.typed_insert(ContentRange::bytes(first..=last, all).expect("it is within"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Range::Unsatisfiable => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE);
            let headers = response.headers_mut();
            headers.typed_insert(ContentRange::unsatisfied_bytes(all));
            return response;
        }
    }
    let headers = response.headers_mut();
    // For `HEAD` too, where hyper sends no body.
    headers.typed_insert(ContentLength(len));
    if method == Method::GET {
        *response.body_mut() = Either::Left(FileBody::new(file, offset, len));
    }
    response
}

/// A tag that changes when the file is replaced or written to, unless that happens twice within the
/// resolution of the file system's clock, some milliseconds.
fn tag(metadata: &std::fs::Metadata) -> ETag {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let (inode, len) = (metadata.ino(), metadata.len());
    let tag = format!("\"{inode:x}-{seconds:x}.{nanoseconds:x}-{len:x}\"");
    tag.parse().expect("it is quoted")
}

/// Returns the status of the response if a condition of the request says that it is not the file
/// (section 13.2.2).
fn precondition(request: &HeaderMap, tag: &ETag, modified: SystemTime) -> Option<StatusCode> {
    let passes = match request.typed_get::<IfMatch>() {
        Some(tags) => tags.precondition_passes(tag),
        None => request
            .typed_get::<IfUnmodifiedSince>()
            .is_none_or(|time| time.precondition_passes(modified)),
    };
    if !passes {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_new = match request.typed_get::<IfNoneMatch>() {
        Some(tags) => tags.precondition_passes(tag),
        None => request
            .typed_get::<IfModifiedSince>()
            .is_none_or(|time| time.is_modified(modified)),
    };
    (!is_new).then_some(StatusCode::NOT_MODIFIED)
}

/// The part of a file that a request is for.
#[derive(Debug, PartialEq)]
enum Range {
    All,
    /// The offsets of the first and the last byte.
    Part(u64, u64),
    /// There is no byte of the file in it.
    Unsatisfiable,
}

/// Returns the part of a file of `len` bytes that a request is for (section 14.2). More than one
/// range, and what is no range of bytes, is ignored, as the standard allows: the response is the
/// whole file.
fn range(
    method: &Method,
    request: &HeaderMap,
    tag: &ETag,
    modified: SystemTime,
    len: u64,
) -> Range {
    let mut values = request.get_all(header::RANGE).iter();
    let (Some(range), None) = (values.next(), values.next()) else {
        return Range::All;
    };
    if method != Method::GET {
        return Range::All;
    }
    // A condition that is not understood is not met.
    let is_other = request.contains_key(header::IF_RANGE)
        && request
            .typed_get::<IfRange>()
            .is_none_or(|range| range.is_modified(Some(tag), Some(&LastModified::from(modified))));
    if is_other {
        return Range::All;
    }
    range.to_str().map_or(Range::All, |range| parse(range, len))
}

/// Parses the value of `Range`.
fn parse(range: &str, len: u64) -> Range {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
        .filter(|(first, last)| digits(first) && digits(last));
    let Some((first, last)) = parts else {
        return Range::All;
    };
    // A number that is too large is beyond every file.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let (first, last) = match (first, last) {
        ("", "") => return Range::All,
        ("", last) if number(last) == 0 => return Range::Unsatisfiable,
        ("", last) => (len.saturating_sub(number(last)), u64::MAX),
        (first, "") => (number(first), u64::MAX),
        (first, last) if number(last) < number(first) => return Range::All,
        (first, last) => (number(first), number(last)),
    };
    if first >= len {
        return Range::Unsatisfiable;
    }
    Range::Part(first, last.min(len - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_the_standard_says() {
        for (text, range) in [
            ("bytes=0-0", Range::Part(0, 0)),
            ("bytes=2-5", Range::Part(2, 5)),
            ("bytes=2-", Range::Part(2, 9)),
            ("bytes=9-", Range::Part(9, 9)),
            ("bytes=2-10", Range::Part(2, 9)),
            ("bytes=0-99999999999999999999999", Range::Part(0, 9)),
            ("bytes=-3", Range::Part(7, 9)),
            ("bytes=-10", Range::Part(0, 9)),
            ("bytes=-11", Range::Part(0, 9)),
            ("bytes= 2-5 ", Range::Part(2, 5)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-2", Range::All),
            ("bytes=0-1,3-4", Range::All),
            ("bytes=-", Range::All),
            ("bytes=", Range::All),
            ("bytes=+1-2", Range::All),
            ("bytes=--1", Range::All),
            ("lines=0-1", Range::All),
            ("", Range::All),
        ] {
            assert_eq!(parse(text, 10), range, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(parse("bytes=-5", 0), Range::Unsatisfiable);
    }
}
