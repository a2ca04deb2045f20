//! Byte strings as one piece. Element by element, which is what serde does by itself, has the same bytes on the
//! wire and takes ten times as long.

use alloc::{borrow::ToOwned, vec::Vec};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// For a field of type `Vec<u8>`.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// For a field of type `Vec<u8>`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    Whole::deserialize(from).map(|whole| whole.0)
}

struct Whole(Vec<u8>);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            // postcard looks whether all of them are there before it hands them out.
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Whole, E> {
                Ok(Whole(bytes.to_owned()))
            }
        }

        from.deserialize_bytes(Visitor)
    }
}

/// The same for a field of type `Option<Vec<u8>>`.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Vec, Whole};

    struct Part<'a>(&'a [u8]);

    impl Serialize for Part<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(self.0)
        }
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(Part).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<Whole>::deserialize(from).map(|whole| whole.map(|whole| whole.0))
    }
}
