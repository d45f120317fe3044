//! TLS over the TCP transport, as ureq's own connector has it, but with our judgement of certificates and errors that say
//! what is wrong.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, InvalidMessage, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};
use ureq::{Error, Timeout};

use super::standing::Trial;
use super::transport::{TcpTransport, room};
use super::trust::Trust;
use domain::failure::{ErrorClass, Failure};
use domain::url;

/// What ureq is told where the time is over within a handshake; of its reasons none means that.
pub const HANDSHAKE: Timeout = Timeout::PerCall;

/// Makes connections to `https` secure.
#[derive(Clone)]
pub struct TlsConnector(Trust);

impl TlsConnector {
    /// Trusts `trust`.
    pub fn new(trust: Trust) -> Self {
        Self(trust)
    }

    fn wrap(
        &self,
        details: &ConnectionDetails,
        mut tcp: TcpTransport,
    ) -> Result<TlsTransport, io::Error> {
        let name = ServerName::try_from(url::host(details.uri).to_owned())
            .map_err(|_| io::Error::other("the host is not a name that a certificate can have"))?;
        let mut session =
            ClientConnection::new(Arc::clone(&self.0.tls), name).map_err(io::Error::other)?;
        let trial = tcp.trial.take();
        let after = tcp.left_to_connect().into();
        let mut socket = TransportAdapter::new(tcp, details.current_time.clone());
        // The adapter starts a clock of its own, and connecting has taken some of the time.
        socket.set_timeout(NextTimeout { after, ..details.timeout });
        session.complete_io(&mut socket)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(TlsTransport { trial, buffers, stream: StreamOwned { conn: session, sock: socket } })
    }

    fn explain(&self, error: io::Error) -> Error {
        let reason = match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            )) => {
                format!("the endpoint does not speak TLS at this port ({error}); is it http?")
            }
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if self.0.lacks_system_roots() =>
            {
                format!(
                    "{error}; the operating system has no root certificates that the server can read"
                )
            }
            // rustls shows its parts instead.
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(cause))) => {
                format!("invalid peer certificate: {cause}")
            }
            Some(_) => error.to_string(),
            None if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
            {
                "the connection ended within the TLS handshake; is it http at this port?".to_owned()
            }
            None => match Error::from(error) {
                Error::Timeout(_) => return Error::Timeout(HANDSHAKE),
                Error::Other(cause) => return Error::Other(cause),
                // A connection that ends during the handshake says no as clearly as an alert does.
                Error::Io(cause) => cause.to_string(),
                other => other.to_string(),
            },
        };
        Error::Other(Box::new(Failure::new(ErrorClass::Tls, reason)))
    }
}

impl Connector<TcpTransport> for TlsConnector {
    type Out = Either<TcpTransport, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<TcpTransport>,
    ) -> Result<Option<Self::Out>, Error> {
        match chained {
            Some(tcp) if details.needs_tls() => {
                let wrapped = self.wrap(details, tcp).map_err(|error| self.explain(error))?;
                Ok(Some(Either::B(wrapped)))
            }
            tcp => Ok(tcp.map(Either::A)),
        }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

/// One secure connection.
pub struct TlsTransport {
    /// Until something has been read.
    trial: Option<Trial>,
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter<TcpTransport>>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let StreamOwned { conn, sock } = &mut self.stream;
        conn.writer().write_all(&self.buffers.output()[..amount])?;
        // The stream's own `write` would keep an error back until the next one.
        while conn.wants_write() {
            conn.write_tls(sock)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(room(&mut self.buffers)?)?;
        self.buffers.input_appended(amount);
        if amount > 0
            && let Some(trial) = self.trial.take()
        {
            trial.answered();
        }
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // What rustls has of an answer that nobody asked for.
        let state = self.stream.conn.process_new_packets();
        state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0)
            && self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
