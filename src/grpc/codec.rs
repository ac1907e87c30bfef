//! How messages become bytes: as prost does it, with buffers of the size that our messages have.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What a message is encoded into, or decoded from, at first. Larger ones get more. tonic's own 8 KiB, asked for twice for
/// each call, are more than malloc keeps ready.
const BUFFER_BYTES: usize = 512;
/// From which size on a stream of messages is sent before it has ended: tonic's own value. No method streams.
const YIELD_BYTES: usize = 32 * 1024;

/// A codec for small messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SmallMessages<Encode, Decode>(PhantomData<(Encode, Decode)>);

impl<Encode, Decode> Default for SmallMessages<Encode, Decode> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Encode, Decode> Codec for SmallMessages<Encode, Decode>
where
    Encode: Message + Send + 'static,
    Decode: Message + Default + Send + 'static,
{
    type Encode = Encode;
    type Decode = Decode;
    type Encoder = <ProstCodec<Encode, Decode> as Codec>::Encoder;
    type Decoder = <ProstCodec<Encode, Decode> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<Encode, Decode>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<Encode, Decode>::raw_decoder(buffers())
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}
