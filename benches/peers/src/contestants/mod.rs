//! One file per contestant.

#[cfg(feature = "compio")]
pub mod compio;
#[cfg(feature = "glommio")]
pub mod glommio;
#[cfg(feature = "monoio")]
pub mod monoio;
pub mod rawepoll;
pub mod rawexec;
pub mod rawfut;
#[cfg(feature = "rawuring")]
pub mod rawuring;
pub mod rawwake;
pub mod rawwheel;
#[cfg(feature = "reveille")]
pub mod reveille;
#[cfg(feature = "reveille")]
pub mod reveille_loop;
#[cfg(feature = "reveille")]
pub mod reveille_tuned;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tokio")]
pub mod tokio_local;
