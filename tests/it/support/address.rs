//! A loopback address that only this test process uses. On it a service can be started again where it was: meanwhile neither
//! another process nor an outgoing connection gets its port.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process,
};

/// The address. Only Linux has more than one.
pub fn own_ip() -> IpAddr {
    let [_, a, b, c] = process::id().to_be_bytes();
    let is_linux = cfg!(target_os = "linux");
    if is_linux { Ipv4Addr::new(127, a | 0x80, b, c).into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// The address, with a port on which nothing listens. For what has to be told a port, instead of telling which it has.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((own_ip(), 0)).unwrap().local_addr().unwrap()
}
