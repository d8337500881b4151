namespace spqr {}
