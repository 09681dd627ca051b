"""What a boot is watched for, and how its CPUs are held and released."""
