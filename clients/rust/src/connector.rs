//! Connections that are given up where the other side says nothing at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tonic::codegen::http::Uri;
use tonic::codegen::{BoxFuture, Service, StdError};

/// Connects by TCP.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    within: Duration,
}

impl Connector {
    /// `within`: for the connection, and then for the first bytes of the other side.
    pub(crate) fn new(within: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(within));
        Self { tcp, within }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, within) = (self.tcp.call(uri), self.within);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            let silence = Some(Box::pin(sleep(within)));
            Ok(TokioIo::new(Connection { stream, within, silence }))
        })
    }
}

/// A connection that fails where nothing is said in time. HTTP/2 does not wait for the other side
/// before it sends a call, and its pings would find out only after most of a minute.
pub(crate) struct Connection {
    stream: TcpStream,
    within: Duration,
    /// None once something was said.
    silence: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &mut self.silence {
            Some(silence) if read.is_pending() => {
                ready!(silence.as_mut().poll(context));
                let message = format!("no answer within {} s", self.within.as_secs());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
            }
            _ => {
                self.silence = None;
                read
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tonic::Code;

    use super::*;
    use crate::client::Client;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up_soon_after_the_wait() {
        // Connections are taken by the system, and nobody reads what they bring.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = Client::builder()
            .gateway(&address)
            .collector(&address)
            .api_key("pb")
            .wait(Duration::from_secs(5))
            .build()
            .unwrap();
        let began = Instant::now();
        let single = client.get("batch_1").await.unwrap_err();
        let watched = client.watch("batch_1").next().await.unwrap().unwrap_err();
        for error in [single, watched] {
            let call = error.call().unwrap();
            assert_eq!(call.code, Code::Unavailable);
            assert!(call.message.contains("no answer within 5 s"), "{}", call.message);
        }
        let each = began.elapsed() / 2;
        assert!(each < Duration::from_secs(16), "{each:?}");
    }
}
