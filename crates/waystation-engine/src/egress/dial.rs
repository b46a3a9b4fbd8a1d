//! Plain connections within the policy, for protocols other than HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::HttpClient;
use super::error::SendError;
use super::policy::Refusal;
use crate::limits::CONNECT_TIMEOUT;

impl HttpClient {
    /// Connects to a host: a name, or an address as text. What was checked is what is dialled.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, SendError> {
        let addresses = self.permitted_addresses(host).await?;
        let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let place = format!("{host}:{port}");
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&*addresses)).await;
        let stream = connected.map_err(|_| {
            let seconds = CONNECT_TIMEOUT.as_secs();
            SendError::Timeout(format!("no connection to {place} within {seconds} s"))
        })?;
        let cannot = |error: io::Error| {
            SendError::Transport(format!("cannot connect to {place}: {}", in_words(&error)))
        };
        let stream = stream.map_err(cannot)?;
        stream.set_nodelay(true).map_err(cannot)?;
        Ok(stream)
    }

    /// The addresses of a host to which the policy allows to connect; an error where there is none.
    pub async fn permitted_addresses(&self, host: &str) -> Result<Vec<IpAddr>, SendError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            self.resolver.policy.check(address).map_err(SendError::Refused)?;
            return Ok(vec![address]);
        }
        let found = timeout(CONNECT_TIMEOUT, self.resolver.addresses(host)).await;
        let found = found
            .map_err(|_| SendError::Timeout(format!("the name {host} is not resolved in time")))?;
        let found = found.map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => SendError::Refused(*refusal),
            Err(other) => SendError::Transport(other.to_string()),
        })?;
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }
}

/// The common causes without the system's number for them.
pub(crate) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "unexpected end of data".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::policy::Reach;
    use super::super::testing::{client, named_client, open_client};
    use super::*;

    #[tokio::test]
    async fn a_name_is_dialled_at_the_address_that_was_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A second look at the name would lead elsewhere.
        let client = named_client(|count| match count {
            0 => &["127.0.0.1"],
            _ => &["169.254.169.254"],
        });
        let stream = client.dial("db.example", port).await.expect("a connection");
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        let refused = client.dial("db.example", port).await.unwrap_err();
        assert!(matches!(refused, SendError::Refused(_)), "{refused}");
    }

    #[tokio::test]
    async fn what_the_policy_forbids_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let confined = client(Reach::PublicOnly, "");
        for host in ["127.0.0.1", "::1", "[::ffff:127.0.0.1]", "localhost"] {
            let error = confined.dial(host, port).await.unwrap_err();
            assert!(matches!(error, SendError::Refused(_)), "{host}: {error}");
        }
        assert!(open_client().dial("127.0.0.1", port).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = open_client().dial("127.0.0.1", port).await.unwrap_err();
        let expected = format!("cannot connect to 127.0.0.1:{port}: connection refused");
        assert_eq!(error, SendError::Transport(expected));
    }
}
