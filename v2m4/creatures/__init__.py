"""Random creatures of many body plans: their parts (``plans``) and surfaces about the parts (``surfaces``)."""
