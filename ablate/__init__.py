"""`ablate`: which vision encoders, fused how, trained how, at what cost."""
