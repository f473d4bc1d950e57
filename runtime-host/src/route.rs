//! Routes of HTTP triggers, as Spin matches them: exact, with `:parameters`, or with a trailing `/...`. The most specific match
//! wins. A slash at the end of a route or a path says nothing.

use std::cmp::Reverse;

/// The route of one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// As the manifest has it.
    text: String,
    /// With a slash in front and none at the end.
    normal: String,
    segments: Vec<Segment>,
    /// Ends in `/...`: whatever follows matches too, nothing included.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Parameter(String),
    /// Texts and parameters with dots between them, such as `:name.json`.
    Dotted(Vec<Segment>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("route `{0}` has a wildcard before its end, or one that is not `/...`")]
    WildcardInside(String),
    #[error("route `{0}` has a `:` without a name")]
    UnnamedParameter(String),
    #[error("route `{0}` has a blank, `?` or `#`, which no path has")]
    BadCharacter(String),
}

/// A route that matched, and what its parameters stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch<'a, T> {
    pub route: &'a Route,
    pub target: &'a T,
    pub parameters: Vec<(&'a str, String)>,
    /// What `/...` stands for, with its leading slash; empty for other routes.
    pub rest: String,
}

impl Segment {
    fn parse(text: &str, route: &str) -> Result<Self, RouteError> {
        if text.contains('*') || text == "..." {
            return Err(RouteError::WildcardInside(route.to_owned()));
        }
        // Dots are ordinary letters where there is no parameter.
        if !text.starts_with(':') && !text.contains(".:") {
            return Ok(Segment::Exact(text.to_owned()));
        }
        let part = |part: &str| match part.strip_prefix(':') {
            Some("") => Err(RouteError::UnnamedParameter(route.to_owned())),
            Some(name) => Ok(Segment::Parameter(name.to_owned())),
            None => Ok(Segment::Exact(part.to_owned())),
        };
        let mut parts = text.split('.').map(part).collect::<Result<Vec<_>, _>>()?;
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Ok(Segment::Dotted(parts)),
        }
    }

    fn matches<'a>(&'a self, here: &str, parameters: &mut Vec<(&'a str, String)>) -> bool {
        match self {
            Segment::Exact(text) => text == here,
            Segment::Parameter(name) => {
                parameters.push((name, here.to_owned()));
                !here.is_empty()
            }
            // A parameter ends at the next dot, the last one at the end.
            Segment::Dotted(parts) => {
                let mut found = here.splitn(parts.len(), '.');
                let matched =
                    parts.iter().all(|part| found.next().is_some_and(|f| part.matches(f, parameters)));
                matched && found.next().is_none()
            }
        }
    }

    /// Larger is more specific.
    fn rank(&self) -> u8 {
        match self {
            Segment::Exact(_) => 3,
            Segment::Dotted(parts) if matches!(parts[0], Segment::Exact(_)) => 2,
            Segment::Dotted(_) => 1,
            Segment::Parameter(_) => 0,
        }
    }

    fn same_matches(&self, other: &Segment) -> bool {
        match (self, other) {
            (Segment::Exact(a), Segment::Exact(b)) => a == b,
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            (Segment::Dotted(a), Segment::Dotted(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_matches(b))
            }
            (Segment::Exact(_) | Segment::Parameter(_) | Segment::Dotted(_), _) => false,
        }
    }
}

impl Route {
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
            return Err(RouteError::BadCharacter(text.to_owned()));
        }
        let path = text.strip_prefix('/').unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        let normal = format!("/{path}");
        let wildcard = normal.strip_suffix("/...").or_else(|| normal.strip_suffix("/*"));
        let (fixed, open) = (wildcard.unwrap_or(&normal), wildcard.is_some());
        let fixed = fixed.trim_start_matches('/');
        if !open && fixed.ends_with("...") {
            return Err(RouteError::WildcardInside(text.to_owned()));
        }
        let segments = match fixed {
            "" => Vec::new(),
            fixed => fixed.split('/').map(|s| Segment::parse(s, text)).collect::<Result<_, _>>()?,
        };
        Ok(Self { text: text.to_owned(), normal, segments, open })
    }

    /// As the manifest has it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// With a slash in front, and none at the end.
    pub fn normal_form(&self) -> &str {
        &self.normal
    }

    /// The route as the manifest has it, without its wildcard.
    pub fn fixed_part(&self) -> &str {
        self.text.strip_suffix("/...").unwrap_or(&self.text)
    }

    fn matches(&self, path: &str) -> Option<(Vec<(&str, String)>, String)> {
        if !path.starts_with('/') {
            return None;
        }
        let mut rest = path.trim_matches('/');
        let mut parameters = Vec::new();
        // Whether anything, be it an empty segment, is left of the path.
        let mut more = !rest.is_empty();
        for segment in &self.segments {
            if !more {
                return None;
            }
            let (here, after) = match rest.split_once('/') {
                Some((here, after)) => (here, Some(after)),
                None => (rest, None),
            };
            if !segment.matches(here, &mut parameters) {
                return None;
            }
            more = after.is_some();
            rest = after.unwrap_or("");
        }
        // The slash at the end belongs to what the wildcard stands for.
        match (self.open, more, path.ends_with('/')) {
            (true, true, true) => Some((parameters, format!("/{rest}/"))),
            (true, true, false) => Some((parameters, format!("/{rest}"))),
            (true, false, true) => Some((parameters, "/".to_owned())),
            (true, false, false) | (false, false, _) => Some((parameters, String::new())),
            (false, true, _) => None,
        }
    }

    /// Larger is more specific: the first segment that differs decides, exact before parameter before wildcard.
    fn rank(&self) -> (Vec<u8>, bool) {
        (self.segments.iter().map(Segment::rank).collect(), !self.open)
    }

    /// Whether the two match the same paths, so that neither could win.
    pub fn collides_with(&self, other: &Route) -> bool {
        self.open == other.open
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(a, b)| a.same_matches(b))
    }
}

/// All routes of an application, the most specific first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes<T> {
    routes: Vec<(Route, T)>,
}

impl<T> Routes<T> {
    pub fn new(mut routes: Vec<(Route, T)>) -> Self {
        routes.sort_by_key(|(route, _)| Reverse(route.rank()));
        Self { routes }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Route, T)> {
        self.routes.iter()
    }

    pub fn find(&self, path: &str) -> Option<RouteMatch<'_, T>> {
        self.routes.iter().find_map(|(route, target)| {
            let (parameters, rest) = route.matches(path)?;
            Some(RouteMatch { route, target, parameters, rest })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(texts: &[&'static str]) -> Routes<&'static str> {
        Routes::new(texts.iter().map(|text| (Route::parse(text).unwrap(), *text)).collect())
    }

    fn found(routes: &Routes<&'static str>, path: &str) -> Option<&'static str> {
        routes.find(path).map(|found| *found.target)
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let texts = ["/...", "/users/...", "/users/:id", "/users/me", "/users/:id/posts", "/users/me/..."];
        for turn in 0..texts.len() {
            let mut texts = texts;
            texts.rotate_left(turn);
            let routes = routes(&texts);
            assert_eq!(found(&routes, "/users/me"), Some("/users/me"));
            assert_eq!(found(&routes, "/users/7"), Some("/users/:id"));
            assert_eq!(found(&routes, "/users/7/posts"), Some("/users/:id/posts"));
            assert_eq!(found(&routes, "/users/me/posts"), Some("/users/me/..."));
            assert_eq!(found(&routes, "/users/7/likes"), Some("/users/..."));
            assert_eq!(found(&routes, "/"), Some("/..."));
        }
    }

    #[test]
    fn a_wildcard_matches_its_own_prefix_and_says_what_it_stands_for() {
        let routes = routes(&["/commands/...", "/:tenant/files/..."]);
        assert_eq!(routes.find("/commands").unwrap().rest, "");
        assert_eq!(routes.find("/commands/").unwrap().rest, "/");
        assert_eq!(routes.find("/commands/a/b").unwrap().rest, "/a/b");
        assert_eq!(found(&routes, "/commandsx"), None);
        let found = routes.find("/t1/files/x").unwrap();
        assert_eq!(found.parameters, vec![("tenant", "t1".to_owned())]);
    }

    #[test]
    fn an_exact_route_matches_itself_with_or_without_slashes_around() {
        let routes = routes(&["/", "/api/documents"]);
        assert_eq!(found(&routes, "/"), Some("/"));
        for path in ["/api/documents", "/api/documents/", "//api/documents"] {
            assert_eq!(found(&routes, path), Some("/api/documents"), "{path}");
        }
        for path in ["/api/documents/x", "/api", "/api//documents", "api/documents", "", "/api/documents/%2f"]
        {
            assert_eq!(found(&routes, path), None, "{path}");
        }
        let without = Routes::new(vec![(Route::parse("hello/").unwrap(), ())]);
        assert!(without.find("/hello").is_some());
    }

    #[test]
    fn a_slash_at_the_end_belongs_to_the_wildcard() {
        let routes = routes(&["/test/...", "/star/*"]);
        for (path, rest) in
            [("/test", ""), ("/test/", "/"), ("/test/hello", "/hello"), ("/test/hello/", "/hello/")]
        {
            assert_eq!(routes.find(path).unwrap().rest, rest, "{path}");
        }
        assert_eq!(routes.find("/star/a/b").unwrap().rest, "/a/b");
    }

    #[test]
    fn a_parameter_may_be_part_of_a_segment_between_dots() {
        let routes = routes(&["/a/:name.json", "/a/:id", "/a/v.:minor", "/b/:x.:y"]);
        assert_eq!(found(&routes, "/a/report.json"), Some("/a/:name.json"));
        assert_eq!(found(&routes, "/a/report.xml"), Some("/a/:id"));
        assert_eq!(found(&routes, "/a/v.7"), Some("/a/v.:minor"));
        let found = routes.find("/b/1.2.3").unwrap();
        assert_eq!(found.parameters, vec![("x", "1".to_owned()), ("y", "2.3".to_owned())]);
        assert_eq!(routes.find("/b/1"), None);
        assert_eq!(routes.find("/b/.2"), None);
    }

    #[test]
    fn malformed_routes_are_told_apart() {
        for route in ["/a/.../b", "/a...", "/a/*/b", "/*a"] {
            assert!(matches!(Route::parse(route), Err(RouteError::WildcardInside(_))), "{route}");
        }
        for route in ["/:", "/a/:.x", "/x.:"] {
            assert!(matches!(Route::parse(route), Err(RouteError::UnnamedParameter(_))), "{route}");
        }
        for route in ["/a b", "/a?b", "/a#b", "/a\nb"] {
            assert!(matches!(Route::parse(route), Err(RouteError::BadCharacter(_))), "{route}");
        }
    }

    #[test]
    fn routes_that_match_the_same_paths_collide() {
        let route = |text| Route::parse(text).unwrap();
        assert!(route("/a/:x").collides_with(&route("/a/:y")));
        assert!(route("/a/:x.:y").collides_with(&route("a/:y.:z/")));
        assert!(!route("/a/:x").collides_with(&route("/a/x")));
        assert!(!route("/a/:x").collides_with(&route("/a/:x.json")));
        assert!(!route("/a/...").collides_with(&route("/a")));
    }
}
