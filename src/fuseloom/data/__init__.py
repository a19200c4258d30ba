"""Tables and arrays of the user's own, published data sets, and the embedded one."""
