//! Reads of views: cached at the edge, computed at the origin.

use crate::device::Device;
use crate::error::DeviceError;
use crate::session::problem_of;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};

/// A view as the edge answered it.
#[derive(Debug, Clone)]
pub struct View {
    pub status: u16,
    /// RFC 9211: whether the edge's cache had it, and how.
    pub cache_status: Option<String>,
    /// Seconds since the view was computed, when it came from the cache.
    pub age: Option<u64>,
    /// The institute's revision that the view shows.
    pub bookmark: Option<Bookmark>,
    pub body: serde_json::Value,
}

impl View {
    pub fn is_hit(&self) -> bool {
        self.cache_status.as_deref().is_some_and(|status| status.split(';').any(|part| part.trim() == "hit"))
    }

    /// Served although the edge knows that it may be out of date, because the origin did not answer.
    pub fn is_stale(&self) -> bool {
        self.cache_status.as_deref().is_some_and(|status| status.contains("detail=stale"))
    }
}

impl Device {
    /// Reads a view that is no older than this device's last write.
    pub async fn get(&self, path: &str) -> Result<View, DeviceError> {
        let bookmark = self.inner.lock().store.bookmark()?;
        let answer = self
            .inner
            .send_any(|http, base| {
                let request = http.get(format!("{base}{path}"));
                match bookmark {
                    Some(bookmark) => request.header(BOOKMARK_HEADER, bookmark.to_string()),
                    None => request,
                }
            })
            .await?;
        if !answer.status().is_success() {
            return Err(DeviceError::Refused(problem_of(answer).await));
        }
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        Ok(View {
            status: answer.status().as_u16(),
            cache_status: header("cache-status"),
            age: header("age").and_then(|age| age.parse().ok()),
            bookmark: header(BOOKMARK_HEADER).and_then(|bookmark| bookmark.parse().ok()),
            body: answer.json().await.map_err(|error| DeviceError::Protocol(error.to_string()))?,
        })
    }

    /// The revision that this device's last write made.
    pub fn bookmark(&self) -> Result<Option<Bookmark>, DeviceError> {
        self.inner.lock().store.bookmark()
    }
}
