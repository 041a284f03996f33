//! The `Accept` header (RFC 9110 §12.5.1), as far as endpoints with one or two forms need it.

use http::HeaderMap;
use http::header;

/// Whether this media type may be sent: it, or a range around it, is named with a weight above zero, or nothing is
/// named at all.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut any = false;
    let mut best: Option<(u8, bool)> = None;
    for (range, wanted) in ranges(headers) {
        any = true;
        // §12.5.1: the most specific range decides.
        let precision = match range.as_str() {
            "*/*" => 0,
            range if range == media_type => 2,
            range => match (range.strip_suffix("/*"), media_type.split_once('/')) {
                (Some(kind), Some((own, _))) if kind == own => 1,
                _ => continue,
            },
        };
        if best.is_none_or(|(known, _)| precision > known) {
            best = Some((precision, wanted));
        }
    }
    best.map_or(!any, |(_, wanted)| wanted)
}

/// Whether this media type is asked for by its own name, with a weight above zero.
pub fn names(headers: &HeaderMap, media_type: &str) -> bool {
    ranges(headers).any(|(range, wanted)| wanted && range == media_type)
}

/// Each range, in small letters and without parameters, and whether its weight is above zero.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, bool)> + '_ {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
            let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
            let refused = weight.is_some_and(|weight| weight.bytes().all(|byte| matches!(byte, b'0' | b'.')));
            Some((range, !refused))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::ACCEPT, http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_most_specific_range_decides() {
        const TYPE: &str = "application/statuslist+jwt";
        for (accept, expected) in [
            (&[][..], true),
            (&["*/*"], true),
            (&["application/*"], true),
            (&["application/statuslist+jwt"], true),
            (&["Application/StatusList+JWT; q=0.5"], true),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], true),
            (&["application/statuslist+cwt", "application/statuslist+jwt"], true),
            (&["application/statuslist+cwt"], false),
            (&["text/*"], false),
            (&["application/statuslist+jwt;q=0, */*"], false),
            (&["*/*;q=0.0"], false),
            (&["*/*;q=0.001"], true),
        ] {
            assert_eq!(accepts(&headers(accept), TYPE), expected, "{accept:?}");
        }
    }

    #[test]
    fn only_its_own_name_names_it() {
        const TYPE: &str = "application/token-introspection+jwt";
        assert!(names(&headers(&["application/json;q=0.1, application/token-introspection+jwt"]), TYPE));
        for other in ["*/*", "application/*", "application/json", "application/token-introspection+jwt;q=0"] {
            assert!(!names(&headers(&[other]), TYPE), "{other}");
        }
    }
}
