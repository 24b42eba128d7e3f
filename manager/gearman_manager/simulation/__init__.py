"""`gearman-manager simulate`: the real scaler on a virtual clock, beside other policies, over a trace of arrivals."""
