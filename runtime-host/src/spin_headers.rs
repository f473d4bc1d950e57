//! The headers by which Spin tells a component about its route.

use crate::route::{Route, RouteMatch};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::SocketAddr;

const PREFIX: &str = "spin-";
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("spin-client-addr");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");

/// What is the same for all requests of a route, made once.
pub struct SpinHeaders {
    matched: HeaderValue,
    route: HeaderValue,
    fixed_part: HeaderValue,
}

impl SpinHeaders {
    /// A route with characters that no header may hold could not be asked for.
    pub fn new(route: &Route) -> Self {
        let value = |text: &str| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        // Spin names the root route by nothing here, and only here.
        let matched = if route.normal_form() == "/" { "" } else { route.normal_form() };
        Self { matched: value(matched), route: value(route.as_str()), fixed_part: value(route.fixed_part()) }
    }

    /// What a client sends under these names is replaced.
    pub fn set<T>(&self, headers: &mut HeaderMap, found: &RouteMatch<'_, T>, uri: &Uri, client: SocketAddr) {
        if headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
            let sent: Vec<_> =
                headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
            for name in sent {
                headers.remove(name);
            }
        }
        headers.insert(BASE_PATH, HeaderValue::from_static("/"));
        headers.insert(MATCHED_ROUTE, self.matched.clone());
        headers.insert(RAW_COMPONENT_ROUTE, self.route.clone());
        headers.insert(COMPONENT_ROUTE, self.fixed_part.clone());
        let made = [
            (PATH_INFO, found.rest.clone()),
            (FULL_URL, full_url(uri)),
            (CLIENT_ADDRESS, client.to_string()),
        ];
        for (name, value) in made {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &found.parameters {
            let name = HeaderName::try_from(format!("spin-path-match-{}", name.replace('_', "-")));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }
}

/// As [`Uri`] writes it, for one that has a scheme, a host and a path, as [`crate::request_target::normalise`] makes it.
fn full_url(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority(), uri.path_and_query()) {
        (Some(scheme), Some(host), Some(path)) => [scheme, "://", host.as_str(), path.as_str()].concat(),
        _ => uri.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Route, Routes};

    /// The `spin-` headers of a request, without those that are the same for every route.
    fn told(route: &str, path: &str) -> Vec<(String, String)> {
        let routes = Routes::new(vec![(Route::parse(route).unwrap(), ())]);
        let uri = Uri::try_from(format!("http://fermyon.example{path}?key=value")).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("spin-path-match-forged", HeaderValue::from_static("by the client"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let found = routes.find(path).unwrap();
        SpinHeaders::new(found.route).set(&mut headers, &found, &uri, "127.0.0.1:8777".parse().unwrap());
        assert_eq!(headers.remove("spin-base-path").unwrap(), "/");
        assert_eq!(headers.remove("spin-client-addr").unwrap(), "127.0.0.1:8777");
        assert_eq!(headers.remove("spin-full-url").unwrap(), uri.to_string());
        assert_eq!(headers.remove("accept").unwrap(), "*/*");
        let mut told: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        told.sort();
        told
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (format!("spin-{name}"), value.to_string())).collect()
    }

    #[test]
    fn the_route_and_what_its_wildcard_stands_for_are_told_as_spin_tells_them() {
        let wildcard = [
            ("component-route", "/foo"),
            ("matched-route", "/foo/..."),
            ("path-info", "/bar"),
            ("raw-component-route", "/foo/..."),
        ];
        assert_eq!(told("/foo/...", "/foo/bar"), expected(&wildcard));
        let root = [
            ("component-route", "/"),
            ("matched-route", ""),
            ("path-info", ""),
            ("raw-component-route", "/"),
        ];
        assert_eq!(told("/", "/"), expected(&root));
        let everything = [
            ("component-route", ""),
            ("matched-route", "/..."),
            ("path-info", "/x/"),
            ("raw-component-route", "/..."),
        ];
        assert_eq!(told("/...", "/x/"), expected(&everything));
    }

    #[test]
    fn parameters_are_told_by_name_and_forged_headers_are_gone() {
        let headers = [
            ("component-route", "/u/:user_id/x"),
            ("matched-route", "/u/:user_id/x"),
            ("path-info", ""),
            ("path-match-user-id", "42"),
            ("raw-component-route", "/u/:user_id/x"),
        ];
        assert_eq!(told("/u/:user_id/x", "/u/42/x"), expected(&headers));
    }
}
