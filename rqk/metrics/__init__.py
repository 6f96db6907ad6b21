"""rqk.metrics"""
