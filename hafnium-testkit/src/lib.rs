//! Hafnium.
