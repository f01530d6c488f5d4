"""What synthetic photos are made of: people, clothes, light, cameras."""
