//! `wasi:sockets`: connections and datagrams to addresses that `allowed_outbound_hosts` gives under `tcp`, `udp` or `*`. No name is
//! looked up and nothing listens, as in Spin.
//!
//! The network of the instance stays closed. Each socket is made with a network of its own, which knows what the component may
//! reach and holds the socket's place among the open ones for as long as there is the socket.

use super::outbound_http::OutboundHttp;
use crate::guest_state::GuestState;
use crate::limits;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::{network, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p3::bindings::sockets::types;
use wasmtime_wasi::sockets::{SocketAddrUse, TcpSocket, UdpSocket, WasiSocketsCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, p2};

/// The interfaces that make sockets, with their versions as `wasmtime-wasi` has them. Under another name what is defined here would
/// stand beside its own definitions, which open nothing.
const CREATE_TCP: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const CREATE_UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";
const TYPES: &str = "wasi:sockets/types@0.3.0";

/// What one component has.
#[derive(Clone)]
pub struct Sockets {
    outbound: OutboundHttp,
    /// Bounds the open sockets of all its instances.
    room: Arc<Semaphore>,
}

/// Too many sockets are open.
#[derive(Debug)]
struct NoRoom;

/// Of an open socket, among those of its component and of its instance.
struct Place(#[expect(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

impl Sockets {
    pub fn new(outbound: OutboundHttp) -> Self {
        Self { outbound, room: Arc::new(Semaphore::new(limits::OUTBOUND_REQUESTS)) }
    }

    /// Refuses at once: a guest that waits for a place may hold those that others wait for.
    fn place(&self, of_guest: &Arc<Semaphore>) -> Result<Place, NoRoom> {
        let permit = |room: &Arc<Semaphore>| room.clone().try_acquire_owned().map_err(|_| NoRoom);
        Ok(Place([permit(of_guest)?, permit(&self.room)?]))
    }

    /// The network of one socket.
    fn network(&self, place: Place) -> WasiCtx {
        let mut network = WasiCtxBuilder::new();
        let outbound = self.outbound.clone();
        network
            .allow_tcp(outbound.names_scheme("tcp"))
            .allow_udp(outbound.names_scheme("udp"))
            .socket_addr_check(move |address, using| {
                let _held = &place;
                Box::pin(std::future::ready(permits(&outbound, address, using)))
            })
            .build()
    }
}

fn permits(outbound: &OutboundHttp, address: SocketAddr, using: SocketAddrUse) -> bool {
    match using {
        // Asked before each use of a socket that has no address yet. A guest that asks for more might take a port from others.
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            address.ip().is_unspecified() && address.port() == 0
        }
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        SocketAddrUse::TcpConnect => outbound.allows_address("tcp", address),
        SocketAddrUse::UdpSend => outbound.allows_address("udp", address),
        // Whoever sends what is dropped decides how often; nothing is said of it.
        SocketAddrUse::UdpReceive => outbound.gives_address("udp", address),
    }
}

impl GuestState {
    /// A network for one socket more.
    fn network(&self) -> Result<WasiCtx, NoRoom> {
        let sockets = &self.policy.sockets;
        Ok(sockets.network(sockets.place(&self.socket_room)?))
    }

    fn on<'a>(&'a mut self, network: &'a mut WasiCtx) -> WasiSocketsCtxView<'a> {
        WasiSocketsCtxView { ctx: network.sockets(), table: &mut self.table }
    }

    fn create_tcp_p2(
        &mut self,
        family: network::IpAddressFamily,
    ) -> wasmtime::Result<Result<Resource<p2::TcpSocket>, network::ErrorCode>> {
        let Ok(mut network) = self.network() else { return Ok(Err(network::ErrorCode::NewSocketLimit)) };
        match tcp_create_socket::Host::create_tcp_socket(&mut self.on(&mut network), family) {
            Ok(socket) => Ok(Ok(socket)),
            Err(error) => Ok(Err(error.downcast()?)),
        }
    }

    async fn create_udp_p2(
        &mut self,
        family: network::IpAddressFamily,
    ) -> wasmtime::Result<Result<Resource<p2::UdpSocket>, network::ErrorCode>> {
        let Ok(mut network) = self.network() else { return Ok(Err(network::ErrorCode::NewSocketLimit)) };
        match udp_create_socket::Host::create_udp_socket(&mut self.on(&mut network), family).await {
            Ok(socket) => Ok(Ok(socket)),
            Err(error) => Ok(Err(error.downcast()?)),
        }
    }

    fn create_tcp_p3(
        &mut self,
        family: types::IpAddressFamily,
    ) -> wasmtime::Result<Result<Resource<TcpSocket>, types::ErrorCode>> {
        let Ok(mut network) = self.network() else { return Ok(Err(no_room())) };
        match types::HostTcpSocket::create(&mut self.on(&mut network), family) {
            Ok(socket) => Ok(Ok(socket)),
            Err(error) => Ok(Err(error.downcast()?)),
        }
    }

    async fn create_udp_p3(
        &mut self,
        family: types::IpAddressFamily,
    ) -> wasmtime::Result<Result<Resource<UdpSocket>, types::ErrorCode>> {
        let Ok(mut network) = self.network() else { return Ok(Err(no_room())) };
        match types::HostUdpSocket::create(&mut self.on(&mut network), family).await {
            Ok(socket) => Ok(Ok(socket)),
            Err(error) => Ok(Err(error.downcast()?)),
        }
    }
}

/// WASI 0.3 has no code for it any more.
fn no_room() -> types::ErrorCode {
    types::ErrorCode::Other(Some(format!(
        "{} sockets are open, which is the limit",
        limits::SOCKETS_PER_GUEST
    )))
}

/// Puts the ways to make a socket in the place of those that `wasmtime-wasi` has defined.
pub(super) fn replace_in_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(CREATE_TCP)?.func_wrap("create-tcp-socket", |mut store, (family,)| {
        Ok((store.data_mut().create_tcp_p2(family)?,))
    })?;
    linker.instance(CREATE_UDP)?.func_wrap_async("create-udp-socket", |mut store, (family,)| {
        Box::new(async move { Ok((store.data_mut().create_udp_p2(family).await?,)) })
    })?;
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[static]tcp-socket.create", |mut store, (family,)| {
        Ok((store.data_mut().create_tcp_p3(family)?,))
    })?;
    types.func_wrap_async("[static]udp-socket.create", |mut store, (family,)| {
        Box::new(async move { Ok((store.data_mut().create_udp_p3(family).await?,)) })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
