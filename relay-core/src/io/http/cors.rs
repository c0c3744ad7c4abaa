//! Cross-origin requests of browsers (WHATWG Fetch, "CORS protocol"), by the keys of the Collector's `cors`.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use http_body_util::Full;

use super::answer::AnswerBody;
use crate::config::CorsConfig;

/// The answer to a preflight; `None` if the request is none.
pub(super) fn preflight(cors: &CorsConfig, parts: &request::Parts) -> Option<Response<AnswerBody>> {
    let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if parts.method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    let wanted = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    let allowed = asked == "POST"
        && allow(cors, &parts.headers, response.headers_mut())
        && wanted.unwrap_or_default().split(',').all(|name| is_header_allowed(cors, name.trim()));
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method"));
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if !allowed {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Some(response);
    }
    headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    if let Some(wanted) = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if cors.max_age_seconds > 0 {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age_seconds));
    }
    *response.status_mut() = StatusCode::NO_CONTENT;
    Some(response)
}

/// Lets the page that sent `request` read the answer, if its origin may; says whether it may.
pub(super) fn allow(cors: &CorsConfig, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.get(ORIGIN) else { return false };
    if !origin.to_str().is_ok_and(|origin| is_origin_allowed(cors, origin)) {
        return false;
    }
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    // As the Collector: pages may send credentials.
    answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if let Ok(exposed) = HeaderValue::from_str(&cors.exposed_headers.join(", "))
        && !exposed.is_empty()
    {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    true
}

fn is_origin_allowed(cors: &CorsConfig, origin: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    cors.allowed_origins.iter().any(|pattern| {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.split_once('*') {
            None => pattern == origin,
            Some((before, after)) => {
                origin.len() >= before.len() + after.len()
                    && origin.starts_with(before)
                    && origin.ends_with(after)
            }
        }
    })
}

/// Headers that pages may send: those that are always safe, those of OTLP itself, those that the configuration names.
fn is_header_allowed(cors: &CorsConfig, name: &str) -> bool {
    const ALWAYS: [&str; 7] =
        ["", "accept", "accept-language", "content-language", "content-type", "origin", "x-requested-with"];
    let named = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(name);
    ALWAYS.iter().any(|safe| safe.eq_ignore_ascii_case(name)) || cors.allowed_headers.iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_with_one_star() {
        let allowed_origins = vec!["https://*.example.com".to_owned(), "http://localhost:3000".to_owned()];
        let cors = CorsConfig { allowed_origins, ..CorsConfig::default() };
        for origin in ["https://app.example.com", "https://A.Example.com", "http://localhost:3000"] {
            assert!(is_origin_allowed(&cors, origin), "{origin}");
        }
        for origin in ["https://example.com", "http://app.example.com", "http://localhost:30000", "null", ""]
        {
            assert!(!is_origin_allowed(&cors, origin), "{origin}");
        }
        let all = CorsConfig { allowed_origins: vec!["*".to_owned()], ..CorsConfig::default() };
        assert!(is_origin_allowed(&all, "https://anything"));
    }
}
