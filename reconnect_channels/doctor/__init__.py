"""What `manage.py reconnect_doctor` looks at: probes connect to what is configured, and say what is so."""
