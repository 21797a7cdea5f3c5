//! Which mechanism: names, aliases, the automatic order, and the reason why one is not to be had.
