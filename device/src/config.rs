//! What a device must be told to begin.

/// Who uses the device, and which edge it talks to.
#[derive(Clone)]
pub struct DeviceConfig {
    /// Base URL of the edge, for example `http://127.0.0.1:3000`.
    pub edge_url: String,
    pub email: String,
    /// Used when there is no refresh token that still works. Never stored.
    pub password: String,
    /// Shown to people; a random suffix makes the device's id unique.
    pub device_name: String,
    /// Whether the device begins to look for the network at once, or waits for [`crate::Device::go_online`].
    pub online: bool,
    /// Whether the device keeps a WebSocket to the edge while it is online. Without it, documents sync when
    /// [`crate::Device::sync_batch`] is called.
    pub socket: bool,
}

impl DeviceConfig {
    pub fn new(edge_url: &str, email: &str, password: &str, device_name: &str) -> Self {
        Self {
            edge_url: edge_url.trim_end_matches('/').to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            device_name: device_name.to_owned(),
            online: true,
            socket: true,
        }
    }

    /// The same device, without a network until it is told otherwise.
    pub fn offline(mut self) -> Self {
        self.online = false;
        self
    }

    /// The same device, syncing by the batch route alone.
    pub fn batch_only(mut self) -> Self {
        self.socket = false;
        self
    }
}

impl std::fmt::Debug for DeviceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceConfig")
            .field("edge_url", &self.edge_url)
            .field("email", &self.email)
            .field("device_name", &self.device_name)
            .field("online", &self.online)
            .finish_non_exhaustive()
    }
}
