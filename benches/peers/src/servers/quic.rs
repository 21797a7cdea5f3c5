//! QUIC by quinn: an echo of streams, the same on every runtime. Each contestant brings quinn's
//! traits for its runtime.

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, Runtime, SendStream, ServerConfig};

use super::Site;
use crate::contestant::Tasks;
use crate::tls;

/// The file for reveille's users.
#[cfg(feature = "reveille")]
#[path = "../../../../examples/quic/src/reveille_quinn.rs"]
pub mod reveille_quinn;

/// Serves each connection and each of its streams by a task of the runtime.
pub async fn serve<R: Tasks>(site: Site, runtime: Arc<dyn Runtime>) {
    let crypto = QuicServerConfig::try_from(tls::server()).expect("TLS 1.3");
    let config = Some(ServerConfig::with_crypto(Arc::new(crypto)));
    let endpoint = Endpoint::new(EndpointConfig::default(), config, site.udp(), runtime);
    let endpoint = endpoint.expect("an endpoint");
    while let Some(incoming) = endpoint.accept().await {
        R::detach(R::spawn(async {
            if let Ok(connection) = incoming.await {
                streams::<R>(connection).await;
            }
        }));
    }
}

async fn streams<R: Tasks>(connection: Connection) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        R::detach(R::spawn(echo(send, recv)));
    }
}

async fn echo(mut send: SendStream, mut recv: RecvStream) {
    while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
        if send.write_chunk(chunk.bytes).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}
