"""rqk.autoscale"""
