//! Routes of HTTP triggers: exact, with `:parameters`, or with a trailing `/...`. The most specific match wins.

use std::cmp::Reverse;

/// The route of one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    text: String,
    segments: Vec<Segment>,
    /// Ends in `/...`: whatever follows matches too, nothing included.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Parameter(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("route `{0}` does not begin with `/`")]
    NoSlash(String),
    #[error("route `{0}` has `...` before its end")]
    WildcardInside(String),
    #[error("route `{0}` has a `:` without a name")]
    UnnamedParameter(String),
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

impl Route {
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let path = text.strip_prefix('/').ok_or_else(|| RouteError::NoSlash(text.to_owned()))?;
        let (path, open) = match path.strip_suffix("...") {
            Some("") => ("", true),
            Some(before) => match before.strip_suffix('/') {
                Some(before) => (before, true),
                None => return Err(RouteError::WildcardInside(text.to_owned())),
            },
            None => (path, false),
        };
        let mut segments = Vec::new();
        if !(open && path.is_empty()) {
            for segment in path.split('/') {
                segments.push(match segment.strip_prefix(':') {
                    Some("") => return Err(RouteError::UnnamedParameter(text.to_owned())),
                    Some(name) => Segment::Parameter(name.to_owned()),
                    None if segment == "..." => return Err(RouteError::WildcardInside(text.to_owned())),
                    None => Segment::Exact(segment.to_owned()),
                });
            }
        }
        Ok(Self { text: text.to_owned(), segments, open })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The route without its wildcard.
    pub fn fixed_part(&self) -> &str {
        self.text.strip_suffix("/...").unwrap_or(&self.text)
    }

    fn matches(&self, path: &str) -> Option<(Vec<(&str, String)>, String)> {
        let mut rest = path.strip_prefix('/')?;
        let mut parameters = Vec::new();
        // Whether anything, be it an empty segment, is left of the path.
        let mut more = true;
        for segment in &self.segments {
            if !more {
                return None;
            }
            let (here, after) = match rest.split_once('/') {
                Some((here, after)) => (here, Some(after)),
                None => (rest, None),
            };
            match segment {
                Segment::Exact(text) if text == here => {}
                Segment::Parameter(name) if !here.is_empty() => {
                    parameters.push((name.as_str(), here.to_owned()))
                }
                Segment::Exact(_) | Segment::Parameter(_) => return None,
            }
            more = after.is_some();
            rest = after.unwrap_or("");
        }
        match (self.open, more) {
            (true, true) => Some((parameters, format!("/{rest}"))),
            (_, false) => Some((parameters, String::new())),
            (false, true) => None,
        }
    }

    /// Larger is more specific: the first segment that differs decides, exact before parameter before wildcard.
    fn rank(&self) -> (Vec<u8>, bool) {
        let rank = |segment: &Segment| match segment {
            Segment::Exact(_) => 2,
            Segment::Parameter(_) => 1,
        };
        (self.segments.iter().map(rank).collect(), !self.open)
    }

    /// Whether the two match the same paths, so that neither could win.
    pub fn collides_with(&self, other: &Route) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Exact(a), Segment::Exact(b)) => a == b,
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            (Segment::Exact(_), Segment::Parameter(_)) | (Segment::Parameter(_), Segment::Exact(_)) => false,
        };
        self.open == other.open
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }
}

/// All routes of an application, the most specific first.
#[derive(Debug, Clone, Default)]
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
    fn an_exact_route_matches_itself_alone() {
        let routes = routes(&["/", "/api/documents"]);
        assert_eq!(found(&routes, "/"), Some("/"));
        assert_eq!(found(&routes, "/api/documents"), Some("/api/documents"));
        for path in ["/api/documents/", "/api/documents/x", "/api", "/api//documents", "api/documents", ""] {
            assert_eq!(found(&routes, path), None, "{path}");
        }
    }

    #[test]
    fn malformed_routes_are_told_apart() {
        assert!(matches!(Route::parse("api"), Err(RouteError::NoSlash(_))));
        assert!(matches!(Route::parse("/a/.../b"), Err(RouteError::WildcardInside(_))));
        assert!(matches!(Route::parse("/a..."), Err(RouteError::WildcardInside(_))));
        assert!(matches!(Route::parse("/:"), Err(RouteError::UnnamedParameter(_))));
    }

    #[test]
    fn routes_that_match_the_same_paths_collide() {
        let route = |text| Route::parse(text).unwrap();
        assert!(route("/a/:x").collides_with(&route("/a/:y")));
        assert!(!route("/a/:x").collides_with(&route("/a/x")));
        assert!(!route("/a/...").collides_with(&route("/a")));
    }
}
