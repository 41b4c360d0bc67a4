"""What people do with tenants: each module reads as its story. They use the edges, and tell what they do."""
