//! From URLs to adapters: the scheme alone decides, and a server that is not there yet is waited for.
